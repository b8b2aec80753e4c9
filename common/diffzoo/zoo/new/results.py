"""What a new bundle measures and how it is told: the recipe of its evaluation, results.json, the table of the card."""

from collections.abc import Mapping

from diffzoo.zoo.bundle import Bundle

EVALUATION = "test"
LESIONS = "10"  # mm, radii of the synthetic lesions that a scaffold for anomalies is measured on


def recipe_for(bundle: Bundle) -> dict:
    """What tools/train_zoo.py and tools/write_results.py need to measure the bundle: one evaluation of the test list."""
    import yaml

    evaluate, inference = (yaml.safe_load(bundle.config(name).read_text()) for name in ("evaluate", "inference"))
    columns = inference["report"].get("columns", {})
    settings, what = [], "Test list"
    if "slices" in bundle.parameters():
        settings, what = ["slices=central:1"], f"{what}, the central slice of each volume"
    elif "lesions" in bundle.parameters(["inference", "evaluate"]):
        settings, what = [f"lesions={LESIONS}"], f"{what}, synthetic lesions of {LESIONS} mm"
    return {
        "what": "the lists of the data folder's datalist.json",
        "methods": {method: columns.get(method, method.replace("_", " ")) for method in evaluate["methods"]},
        "headline": EVALUATION,
        "evaluations": {EVALUATION: {"what": what, "part": "test", "settings": settings}},
    }


def headline_text(methods: Mapping[str, str], entry: Mapping) -> str:
    """A template for the headline: PSNR and the gain over each other method that was measured, or AUPRC or Dice of each."""
    if "round_trip" in entry["mean"]:
        return "{mean[painted][psnr]:.1f} dB beside the real image; Dice {mean[round_trip][dice]:.2f} of maps through latents"
    own, *others = [method for method in methods if method in entry["mean"]]
    if "pairs" in entry:
        told = "".join(f", {methods[m]} {{mean[{m}][dice]:.2f}}" for m in others)
        return f"Dice {{mean[{own}][dice]:.2f}}{told} ({{pairs}} test pairs)"
    if "groups" in entry:
        told = "".join(f", {methods[m]} {{mean[{m}][auprc]:.2f}}" for m in others)
        return f"AUPRC {{mean[{own}][auprc]:.2f}}{told} ({{groups[{next(reversed(entry['groups']))}][cases]}} test lesions)"
    gains = "".join(f", {{gain_db[{m}]:+.1f}} dB over {methods[m]}" for m in others)
    return f"PSNR {{mean[{own}][psnr]:.1f}} dB{gains} ({{slices}} test slices)"


def pace(entry: Mapping) -> str:
    """How long it took, in words: seconds a slice, or a case where slices are not counted."""
    one, count = ("slice", entry["slices"]) if "slices" in entry else ("case", len(entry["cases"]))
    return f"{entry['seconds'] / count:.1f} s a {one}"


def described(entry: Mapping, command: str) -> dict:
    """The eval_metrics of metadata.json."""
    values = {m: {k: round(v, 5) for k, v in found.items() if v is not None} for m, found in entry["mean"].items()}
    return {"evaluation": EVALUATION, "command": command, "values": values}

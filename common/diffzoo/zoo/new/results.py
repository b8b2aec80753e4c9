"""What a new bundle measures and how it is told: the recipe of its evaluation, results.json, the table of the card."""

from collections.abc import Mapping

from diffzoo.zoo.bundle import Bundle

EVALUATION = "test"


def recipe_for(bundle: Bundle) -> dict:
    """What tools/train_zoo.py and tools/write_results.py need to measure the bundle: one evaluation of the test list."""
    import yaml

    evaluate, inference = (yaml.safe_load(bundle.config(name).read_text()) for name in ("evaluate", "inference"))
    columns = inference["report"].get("columns", {})
    settings = ["slices=central:1"] if "slices" in bundle.parameters() else []
    what = "Test list" + (", the central slice of each volume" if settings else "")
    return {
        "what": "the lists of the data folder's datalist.json",
        "methods": {method: columns.get(method, method.replace("_", " ")) for method in evaluate["methods"]},
        "headline": EVALUATION,
        "evaluations": {EVALUATION: {"what": what, "part": "test", "settings": settings}},
    }


def headline_text(methods: Mapping[str, str], entry: Mapping) -> str:
    """A template for the headline: the bundle's PSNR and its gain over each other method that was measured."""
    own, *others = [method for method in methods if method in entry["mean"]]
    gains = "".join(f", {{gain_db[{m}]:+.1f}} dB over {methods[m]}" for m in others)
    return f"PSNR {{mean[{own}][psnr]:.1f}} dB{gains} ({{slices}} test slices)"


def described(entry: Mapping, command: str) -> dict:
    """The eval_metrics of metadata.json."""
    values = {m: {k: round(v, 5) for k, v in found.items()} for m, found in entry["mean"].items()}
    return {"evaluation": EVALUATION, "command": command, "values": values}

"""What a new bundle measures and how it is told: the recipe of its evaluation, results.json, the table of the card."""

from collections.abc import Mapping

from diffzoo.zoo.bundle import Bundle

EVALUATION = "test"
KEYS = ("slices", "mean", "gain_db", "ssim_above", "acquisition", "network_calls", "seconds")
KEYS += ("largest_data_residual", "figures", "spread")


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


def entry_of(plan: Mapping, metrics: Mapping, weights_sha256: str) -> dict:
    """An evaluation as docs/results.json keeps it, from the content of metrics.json."""
    kept = {key: metrics[key] for key in KEYS if key in metrics}
    cases = {case["case"]: case["metrics"] for case in metrics["cases"]}
    return {"what": plan["what"], "settings": plan["settings"], "weights_sha256": weights_sha256, **kept, "cases": cases}


def table(entries: Mapping[str, Mapping], methods: Mapping[str, str]) -> str:
    """Markdown: one row an evaluation; methods with their titles, the bundle's own first."""
    others = list(methods)[1:]
    head = ["measurement", "slices", *methods.values(), *(f"gain on {methods[m]}" for m in others)]
    head += [f"SSIM better than {methods[others[-1]]}", "network calls", "data residual"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in entries.values():
        mean, gain = entry["mean"], entry["gain_db"]
        cells = [f"{mean[m]['psnr']:.2f} dB, {mean[m]['ssim']:.3f}" if m in mean else "" for m in methods]
        gains = [f"{gain[m]:+.2f} dB" if m in gain else "" for m in others]
        rest = [f"{100 * entry['ssim_above'][others[-1]]:.0f} %", f"{entry['network_calls']:g}"]
        rows.append([entry["what"], str(entry["slices"]), *cells, *gains, *rest, f"{entry['largest_data_residual']:.1e}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def described(entry: Mapping, command: str) -> dict:
    """The eval_metrics of metadata.json."""
    values = {m: {k: round(v, 5) for k, v in found.items()} for m, found in entry["mean"].items()}
    return {"evaluation": EVALUATION, "command": command, "values": values}

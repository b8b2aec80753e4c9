"""What a new bundle measures and how it is told: the recipe of its evaluation, results.json, the table of the card."""

from collections.abc import Mapping

from diffzoo.zoo.bundle import Bundle

EVALUATION = "test"


def recipe_for(bundle: Bundle) -> dict:
    """What tools/train_zoo.py and tools/write_results.py need to measure the bundle: one evaluation of the test list."""
    import yaml

    evaluate, inference = (yaml.safe_load(bundle.config(name).read_text(encoding="utf-8")) for name in ("evaluate", "inference"))
    columns = inference["report"].get("columns", {})
    settings, what = bundle.task.scaffold_plan(bundle.parameters(["inference", "evaluate"]))
    return {
        "what": "the lists of the data folder's datalist.json",
        "methods": {method: columns.get(method, method.replace("_", " ")) for method in evaluate["methods"]},
        "headline": EVALUATION,
        "evaluations": {EVALUATION: {"what": f"Test list{what}", "part": "test", "settings": settings}},
    }


def headline_text(bundle: Bundle, methods: Mapping[str, str], entry: Mapping) -> str:
    """A template for the headline, which tells of each method that was measured."""
    return bundle.task.headline({key: title for key, title in methods.items() if key in entry["mean"]}, entry)


def pace(entry: Mapping) -> str:
    """How long it took, in words: seconds a slice, or a case where slices are not counted."""
    unit, count = ("slice", entry["slices"]) if "slices" in entry else ("case", len(entry["cases"]))
    return f"{entry['seconds'] / count:.1f} s a {unit}"


def described(entry: Mapping, command: str) -> dict:
    """The eval_metrics of metadata.json."""
    values = {m: {k: round(v, 5) for k, v in figures.items() if v is not None} for m, figures in entry["mean"].items()}
    return {"evaluation": EVALUATION, "command": command, "values": values}

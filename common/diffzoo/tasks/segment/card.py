"""How a model card shows the evaluations of a segmentation, and what docs/results.json keeps of one."""

from collections.abc import Mapping, Sequence

from diffzoo.metrics.intervals import FEW

KEPT = ("people", "mean", "intervals", "kinds", "network_calls", "seconds")
MOST = 12  # people or cases whose values are kept and printed one by one
FIGURES = {  # title and form
    "ged": ("GED (lower)", "{:.3f}"),
    "ci": ("CI (higher)", "{:.3f}"),
    "sensitivity": ("combined sensitivity", "{:.3f}"),
    "dice_max": ("maximum Dice matching", "{:.3f}"),
    "agreement": ("diversity agreement", "{:.3f}"),
    "dice": ("Dice of the majority", "{:.3f}"),
}
OUTLINES = ("core", "half of the rim", "core and rim", "nothing")


def compact(summary: Mapping, cases: Sequence[Mapping]) -> dict:
    """A `SegmentationTable` with no more of each case than GED and CI of each method, numbers of four digits.

    Of many people none is kept by itself: their mean and interval tell of them.
    """
    kept = {key: summary[key] for key in KEPT if summary.get(key)}
    if len(kept["people"]) > MOST:
        kept["people"] = {"all": summary["mean"]}
    judged = [case for case in cases if "metrics" in case]
    each = {c["case"]: {m: {n: v[n] for n in ("ged", "ci")} for m, v in c["metrics"].items()} for c in judged}
    few = len(each) <= 2 * MOST
    subjects = len(summary["people"])
    return _rounded(kept | {"count": len(judged), "subject_count": subjects, "cases": each if few else {}})


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value


def segmentation_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """Tables as rows of cells: a row an evaluation and method; each case of few; and how often each outline was drawn."""
    methods = recipe["methods"]
    head = ["measurement", "method", "images (subjects)", *(title for title, _ in FIGURES.values())]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    each = [["measurement", "image", *(f"GED, {title}" for title in methods.values())], ["---", "---", *["---:"] * len(methods)]]
    often = [["measurement", "kind", *OUTLINES, "total variation", "mean distance of two draws"]]
    often.append(["---", "---", *["---:"] * (len(OUTLINES) + 2)])
    for entry in (e for e in entries.values() if "mean" in e):
        for method, title in methods.items():
            if method in entry["mean"]:
                cells = [_cell(name, form, entry, method) for name, (_, form) in FIGURES.items()]
                rows.append([entry["what"], title, f"{entry['count']} ({entry['subject_count']})", *cells])
        for case, values in entry["cases"].items():
            each.append([entry["what"], case, *(f"{values[m]['ged']:.2f}" if m in values else "" for m in methods)])
        for kind, known in entry.get("kinds", {}).items():
            cells = [f"{100 * m:.0f} % ({100 * e:.0f} %)" for m, e in zip(known["met"], known["expected"], strict=True)]
            often.append([entry["what"], kind.replace("_", "-"), *cells, f"{known['distance']:.2f}", f"{known['spread']:.2f}"])
    return [table for table in (rows, each, often) if len(table) > 2]


def _cell(name: str, form: str, entry: Mapping, method: str) -> str:
    """A mean, with its interval over subjects, or of few the value of each."""
    text = form.format(entry["mean"][method][name])
    if name not in ("ged", "ci"):
        return text
    if bounds := entry.get("intervals", {}).get(method, {}).get(name):
        return f"{text} [{form.format(bounds[0])}, {form.format(bounds[1])}]"
    values = [person[method][name] for person in entry["people"].values() if method in person]
    return f"{text} ({', '.join(form.format(v) for v in values)})" if 1 < len(values) < FEW else text

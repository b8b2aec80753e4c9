"""How a model card shows the evaluations of an anomaly detection."""

from collections.abc import Mapping

from diffzoo.metrics.intervals import FEW, worded

FIGURES = {"auroc": "{:.2f}", "best_dice": "{:.2f}", "dice": "{:.2f}", "moved": "{:.0%}", "healthy_psnr": "{:.1f} dB"}


def detection_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """A table as rows of cells: a row an evaluation and group of its cases; AUPRC is the mean over people.

    In brackets stands its 95 % interval over people, or, of two to four people, the value of each, where it is kept.
    """
    methods = recipe["methods"]
    own = next(iter(methods))
    head = ["measurement", "cases (people)", *(f"AUPRC, {title}" for title in methods.values())]
    head += ["AUROC", "best Dice", "Dice at the threshold", "false positives", "lesion moved", "healthy PSNR", "network calls"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in entries.values():
        for name, group in entry["groups"].items():
            values = group["methods"]
            people = entry.get("subjects", {}).get(name, {})
            cells = [_auprc(values[m]["auprc"], m, group, people) if m in values else "" for m in methods]
            rest = [_mean(values[own].get(key), form) for key, form in FIGURES.items()]
            rest.insert(3, f"{100 * group['fpr']:.1f} %")
            what = entry["what"] if name in (None, "lesions") else f"{entry['what']}: {name}"
            rows.append([what, f"{group['cases']} ({group['subjects']})", *cells, *rest, f"{entry['network_calls']:g}"])
    return [rows]


def _mean(value: Mapping | None, form: str) -> str:
    return form.format(value["mean"]) if value and value["mean"] is not None else ""


def _auprc(value: Mapping, method: str, group: Mapping, people: Mapping) -> str:
    """0.52 [0.40, 0.61], or 0.52 (0.45, 0.50, 0.61)."""
    each = sorted(values[method] for values in people.values() if method in values)
    bounds = value.get("by_subject") if group["subjects"] >= FEW else None
    return worded({"mean": value["mean"], "interval": bounds, "each": each}, "{:.2f}")

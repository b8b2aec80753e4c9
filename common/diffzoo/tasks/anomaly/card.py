"""How a model card shows the evaluations of an anomaly detection."""

from collections.abc import Mapping

FIGURES = {"auroc": "{:.2f}", "best_dice": "{:.2f}", "dice": "{:.2f}", "moved": "{:.0%}", "healthy_psnr": "{:.1f} dB"}
BOUNDS = {"by_subject": "people", "by_case": "cases"}


def detection_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """A table as rows of cells: a row an evaluation and group of its cases, AUPRC of each method with its intervals."""
    methods = recipe["methods"]
    own = next(iter(methods))
    head = ["measurement", "cases (people)", *(f"AUPRC, {title}" for title in methods.values())]
    head += ["AUROC", "best Dice", "Dice at the threshold", "false positives", "lesion moved", "healthy PSNR", "network calls"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in entries.values():
        for name, group in entry["groups"].items():
            values = group["methods"]
            cells = [_interval(values[m]["auprc"]) if m in values else "" for m in methods]
            rest = [_mean(values[own].get(key), form) for key, form in FIGURES.items()]
            rest.insert(3, f"{100 * group['fpr']:.1f} %")
            what = entry["what"] if name in (None, "lesions") else f"{entry['what']}: {name}"
            rows.append([what, f"{group['cases']} ({group['subjects']})", *cells, *rest, f"{entry['network_calls']:g}"])
    return [rows]


def _mean(value: Mapping | None, form: str) -> str:
    return form.format(value["mean"]) if value and value["mean"] is not None else ""


def _interval(value: Mapping) -> str:
    """0.52 [people 0.4, 0.6; cases 0.5, 0.6]."""
    bounds = [f"{kind} {value[key][0]:.2f}, {value[key][1]:.2f}" for key, kind in BOUNDS.items() if value[key]]
    return f"{value['mean']:.2f}" + (f" [{'; '.join(bounds)}]" if bounds else "")

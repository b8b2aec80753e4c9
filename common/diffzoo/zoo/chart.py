"""What an evaluation leaves beside metrics.json, whatever the task: metrics.csv for a spreadsheet, and a chart of all cases."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffzoo.imaging.io.files import write_bytes

CSV, CHART = "metrics.csv", "chart.png"
MOST = 4  # figures in a chart
LEADING = (
    "psnr",
    "ssim",
    "auprc",
    "auroc",
    "dice",
    "best_dice",
    "hd95",
    "ncc",
    "mae",
    "nmse",
)  # in this order, those that are there


def write_chart(folder: str | Path, metrics: Mapping) -> list[Path]:
    """Writes metrics.csv and chart.png of the content of metrics.json into a folder; their paths, none without figures."""
    rows = figures(metrics)
    if not rows:
        return []
    return [write_bytes(Path(folder, CSV), _csv(rows).encode()), write_bytes(Path(folder, CHART), _chart(rows, metrics))]


def figures(metrics: Mapping) -> list[dict]:
    """A row a case and method: "case", "group" where the case has one, "method", and the figures that are numbers."""
    rows = []
    for case in metrics.get("cases", ()):
        for method, values in (case.get("metrics") or {}).items():
            numbers = {name: value for name, value in values.items() if _is_number(value)}
            shared = {"case": case["case"], "method": method} | ({"group": case["group"]} if "group" in case else {})
            rows += [shared | numbers] if numbers else []
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _csv(rows: Sequence[Mapping]) -> str:
    names = dict.fromkeys(["case", "group", "method"] if any("group" in row for row in rows) else ["case", "method"])
    names |= dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _chart(rows: Sequence[Mapping], metrics: Mapping) -> bytes:
    """A panel a figure: a column of points a method, one a case, the same case at the same place in each; a bar at the mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in LEADING if any(name in row for row in rows)][:MOST] or _other(rows)
    methods, cases = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "case"))
    figure = Figure(figsize=(max(3.0, 0.9 * len(methods) + 1.2) * len(names), 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        for k, method in enumerate(methods):
            points = [(cases.index(row["case"]), row[name]) for row in rows if row["method"] == method and name in row]
            spread = [k + 0.5 * ((place + 0.5) / len(cases) - 0.5) for place, _ in points]
            axes.plot(spread, [value for _, value in points], ".", color=f"C{k}", markersize=6 if len(cases) < 50 else 3)
            mean = metrics.get("mean", {}).get(method, {}).get(name)
            if _is_number(mean):
                axes.plot([k - 0.35, k + 0.35], [mean, mean], "-", color=f"C{k}", linewidth=2)
        axes.set_xticks(range(len(methods)), [m.replace("_", " ") for m in methods], rotation=30, ha="right", fontsize=8)
        axes.set_title("PSNR (dB)" if name == "psnr" else name.replace("_", " ").upper(), fontsize=9)
        axes.grid(axis="y", alpha=0.3)
    count = f"{len(cases)} case{'s'[: len(cases) != 1]}"
    figure.suptitle(f"{count}: a point each, from left to right as in {CSV}; a bar at the mean of metrics.json", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _other(rows: Sequence[Mapping]) -> list[str]:
    """The first figures of a task that has none of those that lead."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in ("case", "group", "method")))[:MOST]

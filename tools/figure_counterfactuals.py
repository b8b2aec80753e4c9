"""Draws the sweep of the guidance from docs/results.json: what is found, how far lesions move, what healthy tissue loses.

python tools/figure_counterfactuals.py cdpm
"""

import json
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
LINES = {"anomaly_map": ("encoded by the ODE", "C0"), "noised": ("noise in place of encoding", "C1")}
LEVELS = {"mean_distance": ("mean head", "C2"), "brightness": ("brightness", "C3")}
PANELS = {
    "auprc": "AUPRC, lesions of 10 mm",
    "moved": "way of a lesion to healthy tissue",
    "healthy_psnr": "PSNR of healthy tissue (dB)",
}
KEY = "guidance_"


def main(name: str) -> None:
    bundle = ROOT / "bundles" / name
    entries = json.loads((bundle / "docs" / "results.json").read_text(encoding="utf-8"))["evaluations"]
    sweep = sorted((float(key.removeprefix(KEY)), means(entry)) for key, entry in entries.items() if key.startswith(KEY))
    places = [scale for scale, _ in sweep]
    figure = Figure(figsize=(9, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    for axis, (key, title) in zip(axes, PANELS.items(), strict=True):
        for method, (label, colour) in LINES.items():
            axis.plot(range(len(places)), [entry[method][key] for _, entry in sweep], marker="o", color=colour, label=label)
        axis.set(xlabel="guidance", title=title)
        axis.set_xticks(range(len(places)), [f"{place:g}" for place in places])
    for method, (label, colour) in LEVELS.items():
        axes[0].axhline(sweep[0][1][method]["auprc"], color=colour, linestyle="--", label=label)
    axes[0].set_ylim(0, 1)
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(bundle / "docs" / "figure.png")


def means(entry: dict) -> dict[str, dict[str, float]]:
    """Mean metrics by method of all lesion cases of an evaluation."""
    group = next(reversed(entry["groups"].values()))["methods"]
    return {method: {key: value["mean"] for key, value in values.items()} for method, values in group.items()}


if __name__ == "__main__":
    main(sys.argv[1])

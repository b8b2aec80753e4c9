"""Draws the sweep of the noise level from docs/results.json: how well lesions are found, and what healthy tissue loses.

python tools/figure_anoddpm.py
"""

import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "anoddpm"
LINES = {"anomaly_map": ("both noises", "C0"), "simplex": ("simplex noise alone", "C4"), "gaussian": ("Gaussian twin", "C1")}
LEVELS = {"mean_distance": ("mean head", "C2"), "brightness": ("brightness", "C3")}


def main() -> None:
    entries = json.loads((BUNDLE / "docs" / "results.json").read_text(encoding="utf-8"))["evaluations"]
    sweep = sorted((float(name.removeprefix("level_")), entry) for name, entry in entries.items() if name.startswith("level_"))
    places = [level for level, _ in sweep]
    figure = Figure(figsize=(9, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    for axis, key, label in zip(axes, ("auprc", "moved", "healthy_psnr"), LABELS, strict=True):
        for method, (title, colour) in LINES.items():
            values = [entry["mean"][method][key] for _, entry in sweep]
            axis.plot(places, values, marker="o", color=colour, label=title)
        axis.set(xscale="log", xlabel="level of simplex noise (sigma)", title=label)
        axis.set_xticks(places, [f"{p:g}" for p in places])
        axis.minorticks_off()
    for method, (title, colour) in LEVELS.items():
        axes[0].axhline(sweep[0][1]["mean"][method]["auprc"], color=colour, linestyle="--", label=title)
    axes[0].set_ylim(0, 1)
    axes[1].axhline(0.6, color="grey", linewidth=0.8)
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(BUNDLE / "docs" / "figure.png")


LABELS = ("AUPRC, lesions of 6 to 15 mm", "way of a lesion to healthy tissue", "PSNR of healthy tissue (dB)")


if __name__ == "__main__":
    main()

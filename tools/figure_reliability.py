"""Draws how often the intervals of a bundle's std cover the truth: bundles/NAME/docs/reliability.png, from its results.json.

python tools/figure_reliability.py [NAME ...]        (default: every bundle whose results have a spread)
"""

import json
import sys

from data_folder import BUNDLES

LEVELS = (0.5, 0.8, 0.95)


def main() -> None:
    names = sys.argv[1:] or sorted(path.parents[1].name for path in BUNDLES.glob("*/docs/results.json"))
    for name in names:
        entries = json.loads((BUNDLES / name / "docs" / "results.json").read_text(encoding="utf-8"))["evaluations"].values()
        spreads = {entry["what"]: entry["spread"] for entry in entries if entry.get("spread")}
        if spreads:
            draw(name, spreads)
        elif sys.argv[1:]:
            raise SystemExit(f"{name}: no evaluation with a standard deviation: measure one with samples of 2 or more")


def draw(name: str, spreads: dict[str, dict]) -> None:
    """A PNG: coverage of the intervals of each evaluation against what they promise; on the line is right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, label="as promised")
    for what, spread in spreads.items():
        axes.plot([100 * x for x in LEVELS], [100 * spread[f"covered_{x}"] for x in LEVELS], "o-", markersize=4, label=what)
    axes.set(xlim=(40, 100), ylim=(0, 100), xlabel="interval of the std (%)", ylabel="voxels within it (%)")
    axes.set_title(f"{name}: below the line the std promises too much", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = BUNDLES / name / "docs" / "reliability.png"
    figure.savefig(path)
    print(path.relative_to(BUNDLES.parent))


if __name__ == "__main__":
    main()

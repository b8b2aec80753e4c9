"""How a model card shows the evaluations of a registration."""

from collections.abc import Mapping


def registration_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """Tables as rows of cells: a row an evaluation and method (overlap, its interval, folding, time), then the paths of each.

    "rows" of an evaluation in the recipe names the methods that it is there for; all by default.
    """
    plans = recipe.get("evaluations", {})
    head = ["measurement", "method", "Dice", "95 % Hausdorff", "folding, mean (worst)", "seconds a pair", "network better in"]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    paths = [["measurement", "pairs", "alignment", "paths along which NCC rises", "inverse consistency", "network calls"]]
    paths.append(["---", *["---:"] * 5])
    for name, entry in entries.items():
        shown = plans.get(name, {}).get("rows", entry["methods"])
        for method, title in ((m, title) for m, title in recipe["methods"].items() if m in shown and m in entry["methods"]):
            above = entry["above"].get(method)
            cells = _cells(entry["methods"][method])
            rows.append([entry["what"], title, *cells, "" if above is None else f"{100 * above:.0f} % of pairs"])
        cells = [f"{entry['alignment_seconds']:.2f} s", f"{100 * entry['path_rises']:.0f} %"]
        cells += [f"{entry['inverse_error_voxels']:.2f} voxels", f"{entry['network_calls']:g}"]
        paths.append([entry["what"], str(entry["pairs"]), *cells])
    return [rows, paths]


def _cells(figures: Mapping) -> list[str]:
    dice, folding = figures["dice"], figures["folding"]
    interval = (
        "" if dice["interval"] is None else f" [{dice['interval'][0]:.3f}, {dice['interval'][1]:.3f}]"
    )  # none of few people
    return [
        f"{dice['mean']:.3f}{interval}",
        f"{figures['hd95']['mean']:.2f}",
        f"{100 * folding['mean']:.3f} % ({100 * folding['greatest']:.2f} %)",
        f"{figures['seconds']['mean']:.2f}",
    ]

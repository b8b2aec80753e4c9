"""How a model card shows the evaluations of a translation, and what docs/results.json keeps of one."""

from collections.abc import Mapping, Sequence

from diffzoo.metrics.intervals import FEW

KEPT = ("people", "mean", "given", "roles", "spread", "network_calls", "seconds")


def compact(summary: Mapping, cases: Sequence[Mapping]) -> dict:
    """A `TranslationTable` with no more of each case than the PSNR of each method, numbers of four digits."""
    each = {case["case"]: {m: v["psnr"] for m, v in case["metrics"].items()} for case in cases if "metrics" in case}
    return _rounded({key: summary[key] for key in KEPT if key in summary} | {"cases": each})


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return {key: _rounded(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def translation_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """Tables as rows of cells: a row an evaluation and method; then by what was given, by what was made, and the std.

    With "once" in the recipe a row that would repeat another evaluation's, as of a method without the setting, is left out.
    """
    methods = recipe["methods"]
    head = ["measurement", "method", "people", "PSNR", "PSNR of each", "SSIM", "mean abs. error", "detail (1 = true)"]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    sets = [["given", *methods.values()], ["---", *["---:"] * len(methods)]]
    by_role = [["made", *methods.values()], ["---", *["---:"] * len(methods)]]
    spread = [["draws", "80 % interval covers", "50 %", "95 %", "Spearman of std and error", "factor that would fit"]]
    spread.append(["---", *["---:"] * 5])
    measured = {name: entry for name, entry in entries.items() if "people" in entry}
    for name, entry in measured.items():
        people = entry["people"]
        for method, title in methods.items():
            if method in entry["mean"]:
                each = ", ".join(f"{person[method]['psnr']:.1f}" for person in people.values()) if len(people) < FEW else ""
                cells = [title, str(len(people)), *_cells(entry["mean"][method], each)]
                rows += [] if cells in [row[1:] for row in rows] and recipe.get("once") else [[entry["what"], *cells]]
        if name in (recipe.get("shown"), recipe["headline"]):
            sets += _by(entry["given"], methods) if len(entry["given"]) > 1 else []
            by_role += _by(entry["roles"], methods) if len(entry["roles"]) > 1 else []
        if entry.get("spread"):
            figures = entry["spread"]
            shares = [f"{100 * figures[f'covered_{level}']:.0f} %" for level in ("0.8", "0.5", "0.95")]
            spread.append([entry["what"], *shares, f"{figures.get('spearman', float('nan')):.2f}", f"{figures['factor']:.2f}"])
    more = [ct_rows(measured, methods, recipe.get("once", False)), *figure_rows(entries)]
    return [table for table in (rows, sets, by_role, spread, *more) if len(table) > 2]


CT_FIGURES = {  # of a CT that was made: title and form
    "bias": ("bias (HU)", "{:+.1f}"),
    "edge_f1": ("edges, F1", "{:.3f}"),
    "dice_bone": ("bone, Dice", "{:.3f}"),
    "dice_air": ("air, Dice", "{:.3f}"),
    "better_psnr": ("slices nearer by PSNR", "{:.0%}"),
    "better_ssim": ("by SSIM", "{:.0%}"),
}


def ct_rows(entries: Mapping, methods: Mapping, once: bool = False) -> list[list[str]]:
    """A row an evaluation and method of what a CT is judged by beside its error, where it was."""
    rows = [["measurement", "method", *(title for title, _ in CT_FIGURES.values())], ["---", "---", *["---:"] * len(CT_FIGURES)]]
    for entry in entries.values():
        for method, title in methods.items():
            figures = entry["mean"].get(method, {})
            cells = [form.format(figures[key]) if key in figures else "" for key, (_, form) in CT_FIGURES.items()]
            repeats = once and [title, *cells] in [row[1:] for row in rows]
            rows += [[entry["what"], title, *cells]] if any(cells) and not repeats else []
    return rows


def figure_rows(entries: Mapping) -> list[list[list[str]]]:
    """A table of each entry that a tool measured: its figures in one row."""
    measured = [entry for entry in entries.values() if "figures" in entry and "people" not in entry]
    words = [{name.replace("_", " "): f"{value:.3g}" for name, value in entry["figures"].items()} for entry in measured]
    return [
        [["measurement", *row], ["---", *["---:"] * len(row)], [entry["what"], *row.values()]]
        for entry, row in zip(measured, words, strict=True)
    ]


def _cells(figures: Mapping, each: str) -> list[str]:
    forms = {"ssim": "{:.3f}", "mae": "{:.1f}", "detail": "{:.2f}"}
    rest = [form.format(figures[key]) if key in figures else "" for key, form in forms.items()]
    return [f"{figures['psnr']:.2f} dB", each, *rest]


def _by(groups: Mapping, methods: Mapping) -> list[list[str]]:
    """A row a group: PSNR and SSIM of each method."""
    return [
        [name.replace("+", ", "), *(f"{g[m]['psnr']:.1f} dB, {g[m]['ssim']:.3f}" if m in g else "" for m in methods)]
        for name, g in groups.items()
    ]

"""How a model card shows the evaluations of a reconstruction."""

from collections.abc import Mapping, Sequence

from diffzoo.metrics.intervals import worded


def reconstruction_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """Tables as rows of cells: a row an evaluation, then what draws of the posterior are worth.

    The recipe's methods are titles by key, our own first; its figures those of the draws, "unit" that of the RMSE.
    """
    methods, figures = recipe["methods"], recipe.get("figures", {})
    others, unit = list(methods)[1:], recipe.get("unit")
    head = ["measurement", "people (slices)", *methods.values(), *(f"gain on {methods[m]}" for m in others)]
    head += [f"SSIM better than {methods[others[-1]]}", *([f"RMSE ({unit})"] if unit else []), "over seeds", "network calls"]
    rows = [[*head, "data residual"], ["---", *["---:"] * len(head)]]
    rows += [_row(entry, methods, others, bool(unit)) for entry in entries.values()]
    head = ["draws of the posterior", "80 % interval covers", "50 %", "95 %", "Spearman of std and local error"]
    head += ["mean std (of the maximum)", "factor that would fit", *figures.values()]
    spread = [head, ["---", *["---:"] * (len(head) - 1)]]
    spread += [_spread_row(entry, figures) for entry in entries.values() if entry.get("spread")]
    return [rows] + ([spread] if len(spread) > 2 else [])


def _row(entry: Mapping, methods: Mapping[str, str], others: list[str], unit: bool) -> list[str]:
    mean, gain, own = entry["mean"], entry["gain_db"], next(iter(methods))
    cells = [f"{mean[m]['psnr']:.2f} dB, {mean[m]['ssim']:.3f}" if m in mean else "" for m in methods]
    gains = [worded(gain[m], "{:+.2f}", " dB") if m in gain else "" for m in others]
    above = [f"{100 * entry['ssim_above'][others[-1]]:.0f} %"] + ([f"{mean[own]['rmse']:.1f}"] if unit else [])
    seeds = entry.get("seeds")
    above.append(f"{min(seeds):.2f} to {max(seeds):.2f} dB" if seeds else "")
    rest = [f"{entry['network_calls']:g}", f"{entry['largest_data_residual']:.1e}"]
    return [entry["what"], f"{len(entry['people'])} ({entry['slices']})", *cells, *gains, *above, *rest]


def _spread_row(entry: Mapping, figures: Mapping) -> list[str]:
    spread = entry["spread"]
    shares = [f"{100 * spread[f'covered_{level}']:.0f} %" for level in ("0.8", "0.5", "0.95")]
    cells = [f"{spread['spearman']:.2f}", f"{spread['mean_std']:.4f}", f"{spread['factor']:.2f}"]
    return [entry["what"], *shares, *cells, *(f"{100 * entry['figures'][key]:.0f} %" for key in figures)]


def kept(summary: Mapping, cases: Sequence[Mapping]) -> dict:
    """What docs/results.json keeps: the summary with the values of each person, and the PSNR of each case."""
    methods = {case["case"]: case["metrics"] for case in cases if "metrics" in case}
    short = {name: {m: {k: v[k] for k in ("psnr",) if k in v} for m, v in each.items()} for name, each in methods.items()}
    return {**summary, "cases": short}

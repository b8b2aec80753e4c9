"""How a model card shows the evaluations of a reconstruction."""

from collections.abc import Mapping


def reconstruction_rows(entries: Mapping, recipe: Mapping) -> list[list[list[str]]]:
    """Tables as rows of cells: a row an evaluation, then what draws of the posterior are worth.

    The recipe's methods are titles by key, our own first; its figures those of the draws.
    """
    methods, figures = recipe["methods"], recipe.get("figures", {})
    others = list(methods)[1:]
    head = ["measurement", "slices", *methods.values(), *(f"gain on {methods[m]}" for m in others)]
    head += [f"SSIM better than {methods[others[-1]]}", "network calls", "data residual"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    rows += [_row(entry, methods, others) for entry in entries.values()]
    head = ["draws of the posterior", "Spearman of std and error", "mean std (of the maximum)", *figures.values()]
    spread = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in (e for e in entries.values() if e.get("spread")):
        cells = [f"{entry['spread']['spearman']:.2f}", f"{entry['spread']['mean_std']:.4f}"]
        spread.append([entry["what"], *cells, *(f"{100 * entry['figures'][key]:.0f} %" for key in figures)])
    return [rows] + ([spread] if len(spread) > 2 else [])


def _row(entry: Mapping, methods: Mapping[str, str], others: list[str]) -> list[str]:
    mean, gain = entry["mean"], entry["gain_db"]
    cells = [f"{mean[m]['psnr']:.2f} dB, {mean[m]['ssim']:.3f}" if m in mean else "" for m in methods]
    gains = [f"{gain[m]:+.2f} dB" if m in gain else "" for m in others]
    share = f"{100 * entry['ssim_above'][others[-1]]:.0f} %"
    rest = [f"{entry['network_calls']:g}", f"{entry['largest_data_residual']:.1e}"]
    return [entry["what"], str(entry["slices"]), *cells, *gains, share, *rest]

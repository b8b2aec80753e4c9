"""What of an evaluation is kept in docs/results.json, and how a model card shows it."""

from collections.abc import Mapping

from diffzoo.zoo.generation_tables import generation_rows

KEYS = ("slices", "mean", "gain_db", "ssim_above", "groups", "healthy", "threshold", "acquisition", "network_calls", "seconds")
KEYS += ("largest_data_residual", "figures", "spread")
KEYS += ("pairs", "methods", "above", "path_rises", "inverse_error_voxels", "alignment_seconds")


def entry_of(plan: Mapping, metrics: Mapping, weights_sha256: str) -> dict:
    """An evaluation as docs/results.json keeps it, from the content of metrics.json; of each case its metrics."""
    kept = {key: metrics[key] for key in KEYS if key in metrics}
    cases = {case["case"]: case["metrics"] for case in metrics["cases"] if "metrics" in case}
    return {"what": plan["what"], "settings": plan["settings"], "weights_sha256": weights_sha256, **kept, "cases": cases}


def results_of(found: dict, recipe: dict) -> str:
    """The table of a bundle's evaluations, by the kind of figures that they hold."""
    if any("round_trip" in one["mean"] for one in found.values()):
        return "\n\n".join(map(markdown, generation_rows(found, recipe["methods"])))
    kinds = {"groups": detection_table, "pairs": registration_table}
    made = next((kinds[key] for key in kinds if key in found[recipe["headline"]]), table)
    return made(found, recipe["methods"], recipe.get("figures", {}))


def table(found: dict, methods: dict[str, str], figures: dict[str, str]) -> str:
    """Markdown: one row an evaluation; methods: the bundle's own first, then the baselines; figures of the draws; with titles."""
    others = list(methods)[1:]
    head = ["measurement", "slices", *methods.values(), *(f"gain on {methods[m]}" for m in others)]
    head += [f"SSIM better than {methods[others[-1]]}", "network calls", "data residual"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in found.values():
        mean, gain = entry["mean"], entry["gain_db"]
        cells = [f"{mean[m]['psnr']:.2f} dB, {mean[m]['ssim']:.3f}" if m in mean else "" for m in methods]
        gains = [f"{gain[m]:+.2f} dB" if m in gain else "" for m in others]
        share = f"{100 * entry['ssim_above'][others[-1]]:.0f} %"
        rest = [f"{entry['network_calls']:g}", f"{entry['largest_data_residual']:.1e}"]
        rows.append([entry["what"], str(entry["slices"]), *cells, *gains, share, *rest])
    head = ["draws of the posterior", "Spearman of std and error", "mean std (of the maximum)", *figures.values()]
    spread = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in (e for e in found.values() if e.get("spread")):
        told = [f"{entry['spread']['spearman']:.2f}", f"{entry['spread']['mean_std']:.4f}"]
        spread.append([entry["what"], *told, *(f"{100 * entry['figures'][key]:.0f} %" for key in figures)])
    parts = [markdown(rows)] + ([markdown(spread)] if len(spread) > 2 else [])
    return "\n\n".join(parts)


def detection_table(found: dict, methods: dict[str, str], figures: dict[str, str]) -> str:
    """Markdown: one row an evaluation and group of its cases: AUPRC of each method with intervals over people and over cases."""
    own = next(iter(methods))
    head = ["measurement", "cases (people)", *(f"AUPRC, {title}" for title in methods.values())]
    head += ["AUROC", "best Dice", "Dice at the threshold", "false positives", "lesion moved", "healthy PSNR", "network calls"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for entry in found.values():
        for name, group in entry["groups"].items():
            values = group["methods"]
            cells = [_interval(values[m]["auprc"]) if m in values else "" for m in methods]
            rest = [_mean(values[own].get(key), form) for key, form in FIGURES.items()]
            rest.insert(3, f"{100 * group['fpr']:.1f} %")
            what = entry["what"] if name in (None, "lesions") else f"{entry['what']}: {name}"
            rows.append([what, f"{group['cases']} ({group['subjects']})", *cells, *rest, f"{entry['network_calls']:g}"])
    return markdown(rows)


def registration_table(found: dict, methods: dict[str, str], figures: dict[str, str]) -> str:
    """Markdown: one row an evaluation and method: overlap, its interval over pairs, folding, time; then the paths of each."""
    head = ["measurement", "method", "Dice", "95 % Hausdorff", "folding, mean (worst)", "seconds a pair", "network better in"]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    paths = [["measurement", "pairs", "alignment", "paths along which NCC rises", "inverse consistency", "network calls"]]
    paths.append(["---", *["---:"] * 5])
    for entry in found.values():
        for method, title in methods.items():
            one = entry["methods"][method]
            dice, fold = one["dice"], one["folding"]
            cells = [f"{dice['mean']:.3f} [{dice['interval'][0]:.3f}, {dice['interval'][1]:.3f}]", f"{one['hd95']['mean']:.2f}"]
            cells += [f"{100 * fold['mean']:.3f} % ({100 * fold['greatest']:.2f} %)", f"{one['seconds']['mean']:.2f}"]
            above = entry["above"].get(method)
            rows.append([entry["what"], title, *cells, "" if above is None else f"{100 * above:.0f} % of pairs"])
        rises, error = entry["path_rises"], entry["inverse_error_voxels"]
        told = [
            f"{entry['alignment_seconds']:.2f} s",
            f"{100 * rises:.0f} %",
            f"{error:.2f} voxels",
            f"{entry['network_calls']:g}",
        ]
        paths.append([entry["what"], str(entry["pairs"]), *told])
    return f"{markdown(rows)}\n\n{markdown(paths)}"


FIGURES = {"auroc": "{:.2f}", "best_dice": "{:.2f}", "dice": "{:.2f}", "moved": "{:.0%}", "healthy_psnr": "{:.1f} dB"}


def _mean(value: dict | None, form: str) -> str:
    return form.format(value["mean"]) if value and value["mean"] is not None else ""


def _interval(value: dict) -> str:
    """0.52 [people 0.4, 0.6; cases 0.5, 0.6]."""
    told = [f"{kind} {value[key][0]:.2f}, {value[key][1]:.2f}" for key, kind in BOUNDS.items() if value[key]]
    return f"{value['mean']:.2f}" + (f" [{'; '.join(told)}]" if told else "")


BOUNDS = {"by_subject": "people", "by_case": "cases"}


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table, the second row being its rule."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

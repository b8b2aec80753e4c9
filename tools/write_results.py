"""Puts the measured numbers of docs/results.json where they are quoted: model card, metadata, and the README's table of bundles.

python tools/write_results.py score_mri

Text between `<!-- results -->` and `<!-- /results -->` (`<!-- bundles -->` in the README) is replaced, nothing else.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(name: str) -> None:
    bundle = ROOT / "bundles" / name
    own = bundle / "docs" / "recipe.json"  # of a contributed bundle
    recipe = json.loads((own if own.is_file() else ROOT / "tools" / "recipes" / f"{name}.json").read_text())
    found = json.loads((bundle / "docs" / "results.json").read_text())["evaluations"]
    replace(bundle / "docs" / "README.md", "results", results_of(found, recipe))
    described = describe(bundle / "configs" / "metadata.json", recipe, found[recipe["headline"]])
    replace(ROOT / "README.md", "bundles", bundles_table())
    print(described)


def results_of(found: dict, recipe: dict) -> str:
    """The table of a bundle's evaluations, by the kind of figures that they hold."""
    made = detection_table if "groups" in found[recipe["headline"]] else table
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
    for entry in (e for e in found.values() if e["spread"]):
        told = [f"{entry['spread']['spearman']:.2f}", f"{entry['spread']['mean_std']:.4f}"]
        spread.append([entry["what"], *told, *(f"{100 * entry['figures'][key]:.0f} %" for key in figures)])
    parts = [_markdown(rows)] + ([_markdown(spread)] if len(spread) > 2 else [])
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
    return _markdown(rows)


FIGURES = {"auroc": "{:.2f}", "best_dice": "{:.2f}", "dice": "{:.2f}", "moved": "{:.0%}", "healthy_psnr": "{:.1f} dB"}


def _mean(value: dict | None, form: str) -> str:
    return form.format(value["mean"]) if value and value["mean"] is not None else ""


def _interval(value: dict) -> str:
    """0.52 [people 0.4, 0.6; cases 0.5, 0.6]."""
    told = [f"{kind} {value[key][0]:.2f}, {value[key][1]:.2f}" for key, kind in BOUNDS.items() if value[key]]
    return f"{value['mean']:.2f}" + (f" [{'; '.join(told)}]" if told else "")


BOUNDS = {"by_subject": "people", "by_case": "cases"}


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def describe(path: Path, recipe: dict, entry: dict) -> str:
    """Writes headline and eval_metrics into metadata.json and returns the headline."""
    metadata = json.loads(path.read_text())
    metadata["headline"] = recipe["headline_text"].format(**entry)
    metadata["eval_metrics"] = {
        "evaluation": recipe["headline"],
        "command": f"python tools/train_zoo.py {metadata['name']} --only evaluate",
        "values": {m: {k: round(v, 5) for k, v in values.items() if v is not None} for m, values in entry["mean"].items()},
    }
    path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
    return metadata["headline"]


def bundles_table() -> str:
    """Markdown: one row a bundle of this checkout."""
    rows = [["bundle", "task", "measured", "weights"], ["---"] * 4]
    for path in sorted((ROOT / "bundles").glob("*/configs/metadata.json")):
        data = json.loads(path.read_text())
        size = sum(file.stat().st_size for file in (path.parents[1] / "models").glob("*.safetensors")) / 2**20
        rows.append(
            [f"[{data['name']}](bundles/{data['name']}/docs/README.md)", data["task"], data["headline"], f"{size:.1f} MiB"]
        )
    return _markdown(rows)


def replace(path: Path, mark: str, text: str) -> None:
    """Replaces what stands between the two marks of a document."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    old = path.read_text()
    if not pattern.search(old):
        raise SystemExit(f"{path} has no marks <!-- {mark} --> and <!-- /{mark} -->")
    path.write_text(pattern.sub(lambda m: m[1] + text + "\n" + m[2], old))


if __name__ == "__main__":
    main(sys.argv[1])

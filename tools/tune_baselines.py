"""Tunes the classical baselines of a reconstruction on the validation list, and writes their weights into evaluate.yaml.

python tools/tune_baselines.py score_mri --data FOLDER [--slices central:4]

Each acquisition that the recipe's "baseline" names ("gaussian1d 4") is simulated on the validation volumes; of the weights of its
"grid" the one with the best PSNR, the mean over people, is kept in tv_weights, and likewise in nonlocal_weights where
evaluate.yaml has such a table. The network takes no part in it.
"""

import argparse
import json
import os
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_folder import lists_of, recipe_of

ROOT = Path(__file__).resolve().parents[1]
METHODS = {"tv": "total_variation", "nonlocal": "nonlocal"}  # parameters X_weight, tables X_weights, and what they give


def main() -> None:
    options = _options()
    config = ROOT / "bundles" / options.name / "configs" / "evaluate.yaml"
    for method in METHODS:
        if f"{method}_weights:" in config.read_text(encoding="utf-8"):
            tune(options, method, config)


def tune(options: argparse.Namespace, method: str, config: Path) -> None:
    """Tunes one method for each acquisition, and writes its table."""
    plan, cases = recipe_of(options.name)["baseline"], lists_of(options.name, options.data)["validation"]
    weights = {}
    for name, settings in plan["acquisitions"].items():
        scores = _scores(options.name, cases, [*settings, f"slices={options.slices}"], plan["grid"], method)
        weights[name] = max(scores, key=scores.get)
        print(f"{method}, {name}: " + ", ".join(f"{w:g} {score:.2f} dB" for w, score in scores.items()), flush=True)
        if weights[name] in (min(scores), max(scores)):
            print(f"  the best weight, {weights[name]:g}, is at an end of the grid: widen it in the recipe")
    _write(config, f"{method}_weights", {"default": next(iter(weights.values())), **weights})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle whose recipe has a baseline to tune")
    parser.add_argument("--data", default=os.environ.get("DIFFZOO_DATA"), help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--slices", default="central:4", help="of each volume, as in diffzoo run --set slices")
    return parser.parse_args()


def _scores(bundle: str, cases: list[dict], settings: list[str], grid: list[float], method: str) -> dict[float, float]:
    """PSNR (dB) of each weight, the mean over people of the mean over their slices."""
    from diffzoo.metrics.image_quality import slice_metrics
    from diffzoo.metrics.people import person_means
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.session import parse

    scores, people = {weight: [] for weight in grid}, []
    others = [
        f"{other}_weight=null"
        for other in METHODS
        if other != method and f"{other}_weight" in find(bundle).parameters(["inference", "evaluate"])
    ]
    for case in cases:
        people.append(case.get("subject", case["image"]))
        item = None
        for weight in grid:
            values = find(bundle).settings([*settings, *others, f"{method}_weight={weight}"], ["inference", "evaluate"])
            config = parse(find(bundle), ["inference", "evaluate"], values)
            item = config.get_parsed_content("preprocessing")(dict(case) | {"case": "case"}) if item is None else item
            steps = config.get_parsed_content("postprocessing").transforms
            added = (step(item) for step in steps if type(step).__name__.startswith("Add"))
            classical = next(volumes for volumes in added if METHODS[method] in volumes)
            floor = config.get("report").get("floor", 0.0)
            volumes = (np.asarray(x.as_tensor())[0] - floor for x in (classical[METHODS[method]], item["reference"]))
            scores[weight].append(float(np.mean(slice_metrics(*volumes, item["peak"] - floor)["psnr"])))
    return {weight: float(np.mean(list(person_means(values, people).values()))) for weight, values in scores.items()}


def _write(path: Path, key: str, weights: Mapping[str, float]) -> None:
    """Replaces the table in the config, the comment after it kept."""
    text = path.read_text(encoding="utf-8")
    names = [f'"{name}"' if name.isdigit() else name for name in weights]  # keys are text
    values = [f"{weight:.6f}".rstrip("0") for weight in weights.values()]  # YAML reads 5e-05 as text
    table = ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
    lines = textwrap.wrap(f"{key}: {{{table}}}", 120, subsequent_indent="  ")
    text, count = re.subn(rf"(?ms)^{key}: \{{.*?\}}", "\n".join(lines), text, count=1)
    if not count:
        raise SystemExit(f"{path}: no table {key}: {{...}} to replace")
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {json.dumps(dict(weights))}")


if __name__ == "__main__":
    main()

"""Tunes a bundle that finds anomalies by the one rule of the family: level, median and smoothing of its map, then the threshold.

python tools/tune_anomaly.py pddpm --data FOLDER

The rule and the grid of scores stand in tools/lists/anomaly.json, the levels of a method in "levels" of its recipe. Each level is
run once on the synthetic lesions of the validation people, and every score is taken from what it gave. The setting with the best
mean AUPRC over people and over lesions of 6, 10 and 15 mm wins; 1 % of the voxels of a healthy validation scan reach its
threshold. All settings go into bundles/NAME/docs/tuning.json, the winner into inference.yaml.
"""

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from data_folder import data_folder, datalist, recipe_of

ROOT = Path(__file__).resolve().parents[1]
RULE = ROOT / "tools" / "lists" / "anomaly.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle of anomaly detection")
    parser.add_argument("--data", default=os.environ.get("DIFFZOO_DATA"), help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    recipe, rule = recipe_of(options.name), json.loads(RULE.read_text(encoding="utf-8"))
    lists = datalist(data_folder(options.data), recipe)
    cases = {key: lists[recipe["evaluations"][key]["part"]] for key in ("family_validation", "family_healthy")}
    rows = []
    for level in combinations(recipe["levels"]):
        rows += scored(options.name, level, rule, cases["family_validation"])
        print(max((row for row in rows if row.items() >= level.items()), key=lambda row: row["auprc"]), flush=True)
    best = chosen(rows, rule)
    setting = {key: value for key, value in best.items() if key != "auprc"}
    setting["threshold"] = threshold_of(options.name, setting, rule, cases["family_healthy"])
    print(f"{options.name}: {setting}, AUPRC {best['auprc']:.3f}")
    bundle = ROOT / "bundles" / options.name
    write_settings(bundle / "configs" / "inference.yaml", setting)
    (bundle / "docs" / "tuning.json").write_text(
        json.dumps({"rule": rule["rule"], "setting": setting, "rows": rows}, indent=None).replace("}, {", "},\n {") + "\n",
        encoding="utf-8",
    )


def chosen(rows: list[dict], rule: Mapping) -> dict:
    """The row with the highest AUPRC among those that are not smoothed further than the rule allows."""
    return max((row for row in rows if row["smoothing"] <= rule["most_smoothing"]), key=lambda row: row["auprc"])


def combinations(grid: Mapping[str, list]) -> list[dict]:
    """Every combination of a grid of parameters."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def scored(name: str, level: Mapping, rule: Mapping, cases: list[dict]) -> list[dict]:
    """Each score of the grid at one level, with its AUPRC on the validation lesions, the mean over people."""
    from diffzoo.metrics.detection import average_precision
    from diffzoo.metrics.people import summary

    settings = [*rule["evaluations"]["family_validation"]["settings"], *(f"{k}={v}" for k, v in level.items())]
    grid, people = combinations(rule["scores"]), []
    values: list[list[float]] = [[] for _ in grid]
    for item, score_map in edited_cases(name, settings, cases):
        people.append(item["subject"])
        counts = array(item["brain"]) & ~array(item["ignore"])
        for score, own in zip(grid, values, strict=True):
            own.append(average_precision(score_map(score)[counts], array(item["mask"])[counts]))
    rows = zip(grid, values, strict=True)
    return [{**level, **score, "auprc": round(summary(own, people)["mean"], 4)} for score, own in rows]


def threshold_of(name: str, setting: Mapping, rule: Mapping, cases: list[dict]) -> float:
    """The threshold that the rule's share of the voxels of healthy scans reaches, to three digits."""
    from diffzoo.metrics.detection import threshold_at_fpr

    score = {key: setting[key] for key in rule["scores"]}
    level = [f"{key}={value}" for key, value in setting.items() if key not in score]
    scans = edited_cases(name, level, cases)
    shares = [threshold_at_fpr(score_map(score)[array(item["brain"])], rule["healthy_share"]) for item, score_map in scans]
    return float(f"{np.mean(shares):.3g}")


def edited_cases(name: str, settings: list[str], cases: list[dict]) -> Iterator[tuple[dict, partial]]:
    """Each case as evaluated, and a function from parameters of the score to its map [H, W, D]."""
    import torch

    from diffzoo.imaging.geometry import plain
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.session import parse

    values = find(name).settings(settings, ["inference", "evaluate"])
    config = parse(find(name), ["inference", "evaluate"], values | {"device_name": "cpu"})
    network, inferer, load = (config.get_parsed_content(key) for key in ("network", "inferer", "preprocessing"))
    inferer.progress = None
    named = [{"case": f"{i}", **case} for i, case in enumerate(cases)]
    for case in config.get_parsed_content("expand")(named):
        item = load(case)
        conditions = {key: torch.as_tensor(plain(item[key]))[None] for key in inferer.conditions}
        edited = inferer.edited(plain(item["image"])[None], network, **conditions)
        yield item, partial(_map, inferer, inferer.score, edited)


def _map(inferer, score, edited: tuple, parameters: Mapping) -> np.ndarray:
    inferer.score = partial(score, **parameters)
    return inferer.judged(*edited)[1].numpy()


def array(volume) -> np.ndarray:
    """A mask [1, H, W, D] as an array [H, W, D] of bool."""
    return np.asarray(volume)[0] > 0


def write_settings(path: Path, setting: Mapping) -> None:
    """Puts values in place of those of parameters in a config, comments kept."""
    text = path.read_text(encoding="utf-8")
    for key, value in setting.items():
        old = re.search(rf"(?m)^{key}: (\S+)( *)", text)
        quote = "'" if old[1].startswith("'") else ""
        new = f"{key}: {quote}{value}{quote}"
        text = text.replace(old[0], new.ljust(len(old[0])) if old[2] else new, 1)
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {json.dumps(dict(setting))}")


if __name__ == "__main__":
    main()

"""Tunes noise levels and momentum of a reconstruction for each number of network calls, on the validation list.

python tools/tune_solver.py score_mri --data FOLDER [--slices central:2]

"solver" of the recipe names the grid: "steps", from many to few, the parameters tuned for each of them, and the acquisitions over
which the PSNR of a setting is averaged: for each the mean over people of the mean over their slices. All settings go into
bundles/NAME/docs/tuning.json; the default is the fewest steps whose best setting loses at most "loss_db" of the best of all. The
network's weights stay as they are.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from data_folder import data_folder, datalist, recipe_of
from tune_anomaly import combinations, write_settings

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle of reconstruction whose recipe has a solver to tune")
    parser.add_argument("--data", default=os.environ.get("DIFFZOO_DATA"), help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--slices", default="central:2", help="of each volume, as in diffzoo run --set slices")
    options = parser.parse_args()
    recipe = recipe_of(options.name)
    plan, cases = recipe["solver"], datalist(data_folder(options.data), recipe)["validation"]
    rows, loaded = [], [{} for _ in plan["acquisitions"]]
    for steps in plan["steps"]:
        for setting in combinations({"steps": [steps], **plan["grid"]}):
            each = [
                psnr_of(options.name, [f"slices={options.slices}", *acquisition], setting, cases, items)
                for acquisition, items in zip(plan["acquisitions"], loaded, strict=True)
            ]
            rows.append(setting | {"psnr": round(float(np.mean(each)), 3), "each": [round(value, 3) for value in each]})
        print(best_of(rows, steps), flush=True)
    chosen = fewest(rows, plan["loss_db"])
    setting = {key: value for key, value in chosen.items() if key not in ("psnr", "each")}
    bundle = ROOT / "bundles" / options.name
    write_settings(bundle / "configs" / "inference.yaml", setting)
    text = json.dumps({"rule": plan["rule"], "setting": setting, "rows": rows}).replace("}, {", "},\n {")
    (bundle / "docs" / "tuning.json").write_text(text + "\n", encoding="utf-8")


def best_of(rows: list[dict], steps: int) -> dict:
    """The best setting of a number of steps."""
    return max((row for row in rows if row["steps"] == steps), key=lambda row: row["psnr"])


def fewest(rows: list[dict], loss_db: float) -> dict:
    """The best setting of the fewest steps that lose at most so much of the best of all."""
    limit = max(row["psnr"] for row in rows) - loss_db
    return best_of(rows, min(row["steps"] for row in rows if row["psnr"] >= limit))


def psnr_of(name: str, acquisition: list[str], setting: Mapping, cases: list[dict], items: dict) -> float:
    """PSNR (dB) of a setting at an acquisition ("key=value"); items: its cases as they were read by an earlier call."""
    from diffzoo.imaging.geometry import plain
    from diffzoo.metrics.image_quality import slice_metrics
    from diffzoo.metrics.people import summary
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.session import parse

    values = find(name).settings([*acquisition, *(f"{k}={v}" for k, v in setting.items())], ["inference", "evaluate"])
    config = parse(find(name), ["inference", "evaluate"], values | {"device_name": "cpu"})
    if "network" not in items:
        items["network"], load = config.get_parsed_content("network"), config.get_parsed_content("preprocessing")
        items["cases"] = [load(case | {"case": f"{k}"}) for k, case in enumerate(cases)]
    inferer, floor, means = config.get_parsed_content("inferer"), config.get("report").get("floor", 0.0), []
    inferer.progress = None
    for item in items["cases"]:
        conditions = {key: torch.as_tensor(plain(item[key]))[None] for key in inferer.conditions}
        image = inferer(plain(item["image"])[None], items["network"], **conditions)[0, 0].numpy() * float(item.get("scale", 1))
        truth = np.asarray(item["reference"].as_tensor())[0]
        means.append(float(np.mean(slice_metrics(image - floor, truth - floor, item["peak"] - floor)["psnr"])))
    return summary(means, [case["subject"] for case in cases])["mean"]


if __name__ == "__main__":
    main()

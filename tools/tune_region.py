"""Tunes region growing, the classical baseline of a segmentation, and writes its level and opening into evaluate.yaml.

python tools/tune_region.py cimd --data FOLDER

Of all pairs the one with the least GED is kept: that of the patches of the training and validation lists, and that
of simulated nodules of the validation, in equal parts. No test patch and no network takes part.
"""

import argparse
import os
import re
from itertools import product
from pathlib import Path

import numpy as np
import torch

from data_folder import data_folder, datalist, recipe_of

ROOT = Path(__file__).resolve().parents[1]
LEVELS, OPENINGS = (0.08, 0.1, 0.12, 0.15, 0.18, 0.2, 0.22, 0.25, 0.3), (0, 1, 2, 3)


def main() -> None:
    options = _options()
    from diffzoo.tasks.segment.cases import with_phantoms
    from diffzoo.tasks.segment.scans import LoadPatch

    lists, load = datalist(data_folder(options.data), recipe_of(options.name)), LoadPatch()
    groups = [
        [load(entry) for part in ("training", "validation") for entry in lists[part]],
        [load(case) for case in with_phantoms([], options.phantoms, seed=1)],
    ]
    scores = {pair: [_ged(group, *pair) for group in groups] for pair in product(LEVELS, OPENINGS)}
    for (level, opening), (real, simulated) in scores.items():
        print(f"level {level:g}, opening {opening}: GED {real:.3f} of patches, {simulated:.3f} of simulated nodules")
    level, opening = min(scores, key=lambda pair: sum(scores[pair]))
    print(f"kept: level {level:g}, opening {opening}")
    _write(ROOT / "bundles" / options.name / "configs" / "evaluate.yaml", level=level, opening=opening)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that segments")
    parser.add_argument("--data", default=os.environ.get("DIFFZOO_DATA"), help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--phantoms", type=int, default=45, help="simulated nodules")
    return parser.parse_args()


def _ged(items: list[dict], level: float, opening: int) -> float:
    """The mean GED over cases."""
    from diffzoo.metrics.ambiguous import ged
    from diffzoo.tasks.segment.cases import repeated
    from diffzoo.tasks.segment.outputs import AddClassical

    grow, values = AddClassical(level, opening), []
    for item in items:
        readers = torch.as_tensor(item["readers"]) > 0.5
        readers = readers[repeated(item["frequencies"].tolist())] if "frequencies" in item else readers
        values.append(ged(grow(item)["region"], readers))
    return float(np.mean(values))


def _write(path: Path, **values: float) -> None:
    """Puts values of parameters into a config, their comments as they are."""
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text = re.sub(rf"^{key}: +\S+ *(?=#)", f"{key}: {value:g}".ljust(29), text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

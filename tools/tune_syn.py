"""Tells the Dice of ANTs' SyN on the validation pairs of a bundle that registers, for each of a few settings.

python tools/tune_syn.py diffusemorph --data FOLDER [--pairs 6]        (needs antspyx: pip install diffzoo[compare])

The best goes into evaluate.yaml (syn_metric, syn_radius). All start from the bundle's own alignment.
"""

import argparse
import os
from collections.abc import Iterator, Mapping

from data_folder import data_folder, datalist, recipe_of

SETTINGS = (("CC", 2), ("CC", 4), ("mattes", 32))  # metric and its radius in voxels, of mattes the bins


def main() -> None:
    options = _options()
    lists = datalist(data_folder(options.data), recipe_of(options.name))
    pairs = list(_pairs(options.name, lists["validation"], options.pairs))
    for metric, radius in SETTINGS:
        scores = [_dice(item, metric, radius) for item in pairs]
        print(f"{metric} {radius}: Dice {sum(scores) / len(scores):.3f} of {len(scores)} pairs", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that registers")
    parser.add_argument("--data", default=os.environ.get("DIFFZOO_DATA"), help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--pairs", type=int, default=6, help="validation pairs, drawn as evaluate draws them")
    return parser.parse_args()


def _pairs(bundle: str, entries: list[dict], count: int) -> Iterator[dict]:
    """Loaded and aligned pairs of different people, as the bundle's evaluation takes them."""
    from diffzoo.imaging.io.files import case_name
    from diffzoo.tasks.register.pairs import all_pairs
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.session import parse

    config = parse(find(bundle), ["inference", "evaluate"], {})
    load = config.get_parsed_content("preprocessing")
    for case in all_pairs([entry | {"case": case_name(entry["image"])} for entry in entries], count):
        yield load(case)


def _dice(item: Mapping, metric: str, radius: int) -> float:
    """Dice of the moving label, warped by SyN, with the fixed one."""
    import numpy as np

    from diffzoo.imaging.fields import warp_onto
    from diffzoo.imaging.geometry import plain, spacing
    from diffzoo.imaging.syn import syn
    from diffzoo.metrics.overlap import label_scores

    fixed, moving = item["fixed_scan"], item["moving_scan"]
    field = syn(fixed, moving, np.asarray(item["alignment"]), metric, radius)
    label, affine = item["moving_label_scan"], fixed.affine.numpy()
    moved = warp_onto(plain(label)[None].float(), label.affine.numpy(), field, affine, nearest=True)
    return label_scores(moved, plain(item["fixed_label_scan"])[None], spacing(affine))["dice"]


if __name__ == "__main__":
    main()

"""Makes the mean healthy heads of a bundle's training data, a baseline of its evaluation: bundles/NAME/models/atlas.safetensors.

python tools/build_atlas.py anoddpm --data FOLDER
"""

import argparse
from pathlib import Path

from data_folder import data_folder, datalist, recipe_of
from train_zoo import write_hashes

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle with a recipe beside its card")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    from safetensors.torch import save_file

    from diffzoo.imaging.heads import LoadHead
    from diffzoo.tasks.anomaly.atlas import build

    bundle = ROOT / "bundles" / options.name
    atlas = build(datalist(data_folder(options.data), recipe_of(options.name))["training"], LoadHead())
    save_file(atlas, bundle / "models" / "atlas.safetensors")
    write_hashes(bundle)
    print(", ".join(f"{name} {list(mean.shape)}" for name, mean in atlas.items()))


if __name__ == "__main__":
    main()

"""Makes the mean healthy heads of a bundle's training data, a baseline of its evaluation: bundles/NAME/models/atlas.safetensors.

python tools/build_atlas.py anoddpm --data FOLDER
"""

import argparse
from pathlib import Path

from data_folder import data_folder, datalist, recipe_of

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle with a recipe in tools/recipes")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    from safetensors.torch import save_file

    from diffzoo.imaging.atlas import build
    from diffzoo.imaging.heads import LoadHead

    atlas = build(datalist(data_folder(options.data), recipe_of(options.name))["training"], LoadHead())
    save_file(atlas, ROOT / "bundles" / options.name / "models" / "atlas.safetensors")
    print(", ".join(f"{name} {list(mean.shape)}" for name, mean in atlas.items()))


if __name__ == "__main__":
    main()

"""Makes the style codes of a generator's training images: bundles/NAME/models/styles.safetensors.

python tools/build_styles.py brainspade --data FOLDER [--count 24]

Of each modality `count` codes, each the mean over some slices of a training scan, as its own encoder reads them.
"""

import argparse
from pathlib import Path

from data_folder import data_folder, datalist, recipe_of
from train_zoo import write_hashes

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle with a generator beside its network")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--count", type=int, default=24, help="codes of each modality")
    options = parser.parse_args()
    from safetensors.torch import save_file

    from diffzoo.training.styles import style_codes
    from diffzoo.zoo.session import Session

    bundle = ROOT / "bundles" / options.name
    session = Session(str(bundle), device="cpu")
    entries = datalist(data_folder(options.data), recipe_of(options.name))["training"]
    tissues = session.get("tissues")
    found = style_codes(session.get("network").generator, entries, tissues, tissues.load.field, options.count)
    save_file(found, bundle / "models" / "styles.safetensors")
    write_hashes(bundle)
    print(", ".join(f"{name} {list(value.shape)}" for name, value in found.items()))


if __name__ == "__main__":
    main()

"""Makes what a generator draws from where nobody asks: bundles/NAME/models/prior.safetensors.

python tools/build_prior.py brainspade --data FOLDER [--count 24]

Of each modality `count` style codes, each the mean over some slices of a training scan, as its own encoder reads them; and the
conditions of training maps: lesion or not, place, share of each label.
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

    from diffzoo.tasks.generate.prior import condition_rows, style_codes
    from diffzoo.zoo.session import Session

    bundle = ROOT / "bundles" / options.name
    session = Session(str(bundle), device="cpu")
    lists = datalist(data_folder(options.data), recipe_of(options.name))
    tissues = session.get("tissues")
    codes = style_codes(session.get("network").generator, lists["training"], tissues, tissues.load.field, options.count)
    codes["conditions"] = condition_rows(lists["maps_training"], tissues, tissues.load.field)
    save_file(codes, bundle / "models" / "prior.safetensors")
    write_hashes(bundle)
    print(", ".join(f"{name} {list(value.shape)}" for name, value in codes.items()))


if __name__ == "__main__":
    main()

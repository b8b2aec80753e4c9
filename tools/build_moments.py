"""Makes the moments of a bundle's training intensities, of its linear baselines: bundles/NAME/models/moments.safetensors.

python tools/build_moments.py umm_csgm --data FOLDER
"""

import argparse
import json
import tempfile
from pathlib import Path

from data_folder import BUNDLES, data_folder, datalist, recipe_of
from train_zoo import write_hashes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that translates, with a recipe beside its card")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    from diffzoo.tasks.translate.moments import load_moments
    from diffzoo.tasks.translate.task import write_moments
    from diffzoo.zoo.bundle import Bundle
    from diffzoo.zoo.new.train import parsed

    bundle, lists = BUNDLES / options.name, datalist(data_folder(options.data), recipe_of(options.name))
    target = bundle / "models" / "moments.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "datalist.json").write_text(json.dumps(lists), encoding="utf-8")
        write_moments(parsed(Bundle(bundle)), Path(folder), target)
    write_hashes(bundle)
    print(load_moments(target))


if __name__ == "__main__":
    main()

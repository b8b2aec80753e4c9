"""Makes the template whose priors tell the tissues of a brain: bundles/NAME/models/template.safetensors.

python tools/build_template.py brainspade --data FOLDER

T1, grey and white matter of the average brain ICBM 152 (2009a), at 3 mm: priors are smooth.
"""

import argparse
from pathlib import Path

from data_folder import data_folder
from train_zoo import write_hashes

ROOT = Path(__file__).resolve().parents[1]
FILES = [f"brain_mr/templates/icbm152_2009a_{what}.nii.gz" for what in ("t1", "gm", "wm")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that tells tissues")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    from safetensors.torch import save_file

    from diffzoo.tasks.generate.tissue_heads import build_template

    folder, bundle = data_folder(options.data), ROOT / "bundles" / options.name
    template = build_template(*(folder / file for file in FILES))
    save_file(template, bundle / "models" / "template.safetensors")
    write_hashes(bundle)
    print(f"{options.name}: {list(template['maps'].shape)} at 3 mm")


if __name__ == "__main__":
    main()

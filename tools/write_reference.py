"""Writes docs/reference.json of a bundle: what its tiny run on a simulated scan gives, which `diffzoo verify` compares with.

python tools/write_reference.py score_mri
"""

import json
import sys
import tempfile
from pathlib import Path

from diffzoo.zoo.bundle import find
from diffzoo.zoo.verify.reference import FILE, measure


def main(name: str) -> None:
    root = find(name).root
    with tempfile.TemporaryDirectory() as workspace:
        told = measure(root, Path(workspace))
    (root / FILE).write_text(json.dumps(told, indent=1) + "\n")
    print(f"{root / FILE}: {', '.join(told['outputs'])}")


if __name__ == "__main__":
    main(sys.argv[1])

"""Writes docs/reference.json of a bundle: what its tiny run on a simulated scan gives, which `diffzoo verify` compares with.

python tools/write_reference.py score_mri
"""

import sys
import tempfile
from pathlib import Path

from diffzoo.zoo.bundle import find
from diffzoo.zoo.tables import compact_json
from diffzoo.zoo.verify.reference import FILE, measure


def main(name: str) -> None:
    root = find(name).root
    with tempfile.TemporaryDirectory() as workspace:
        content = measure(root, Path(workspace))
    (root / FILE).write_text(compact_json(content), encoding="utf-8")
    print(f"{root / FILE}: {', '.join(content['outputs'])}")


if __name__ == "__main__":
    main(sys.argv[1])

"""Lists the public sources of the training data, and fills or checks a data folder.

python tools/fetch_data.py sources            address, licence and attribution of each source
python tools/fetch_data.py check --data DIR   compares every file with the sha256 of the manifest
python tools/fetch_data.py fill --data DIR    fetches and converts what a program can, and says how to get the rest
"""

import argparse
import hashlib
import sys
import tempfile
import urllib.request
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import yaml
from PIL import Image

from data_folder import data_folder, manifest, sha256

SOURCES = Path(__file__).parent / "sources.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("sources", "check", "fill"))
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    sources = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))
    if options.command == "sources":
        return show(sources)
    return check(data_folder(options.data)) if options.command == "check" else fill(options.data, sources)


def show(sources: list[dict]) -> int:
    """Prints every source with its files."""
    for source in sources:
        print(source["name"])
        for key, word in (("address", "address"), ("licence", "licence"), ("attribution", "from"), ("steps", "made by")):
            print(f"  {word:8} {source[key]}")
        for file in source["files"]:
            print(f"    {file['sha256']}  {file['to']}")
    return 0


def check(folder: Path) -> int:
    """Every file of the manifest: there, and with the right content."""
    bad = 0
    rows = manifest(folder)
    for row in rows:
        path = folder / row["file"]
        state = "missing" if not path.is_file() else "differs" if sha256(path) != row["sha256"] else ""
        if state:
            bad += 1
            print(f"{state}: {row['file']}")
    print(f"{len(rows) - bad} of {len(rows)} files are as the manifest says")
    return 1 if bad else 0


def fill(option: str | None, sources: list[dict]) -> int:
    """Fetches and converts what a program can; a file is kept only if its voxels are those that the list names."""
    if not option:
        raise SystemExit("say where to: --data FOLDER")
    folder, missing = Path(option), 0
    for source in sources:
        for file in source["files"]:
            target = folder / file["to"]
            if target.is_file() and voxels_sha256(target) == file["voxels_sha256"]:
                continue
            if "url" in file and _fetch(file, target):
                continue
            missing += 1
            print(f"by hand: {file['to']}\n  from {source['address']}\n  {source['steps']}")
    print("complete" if not missing else f"{missing} files are not here yet")
    return 1 if missing else 0


def _fetch(file: dict, target: Path) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        original, target_file = Path(folder) / Path(file["url"]).name, Path(folder) / target.name
        try:
            with urllib.request.urlopen(file["url"], timeout=60) as answer:
                original.write_bytes(answer.read())
        except OSError as error:
            print(f"cannot fetch {file['url']}: {error}")
            return False
        CONVERSIONS[file["convert"]](original, target_file)
        if voxels_sha256(target_file) != file["voxels_sha256"]:
            print(f"{file['url']}: not the expected content, left out")
            return False
        target_file.replace(target)
    print(f"fetched {target.name}")
    return True


def whole_numbers(original: Path, target: Path, factor: float = 1.0) -> None:
    """A NIfTI of floats as int16: times a factor, rounded, negatives set to 0."""
    image = nibabel.load(original)
    values = np.rint(np.asarray(image.dataobj, dtype=np.float64) * factor).clip(0).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, image.affine), target)


def grey_png(original: Path, target: Path) -> None:
    """A JPEG as an 8-bit grey PNG."""
    Image.open(original).convert("L").save(target)


def mask_png(original: Path, target: Path) -> None:
    """A mask that was stored as JPEG as a PNG of 0 and 255."""
    grey = np.asarray(Image.open(original).convert("L"))
    Image.fromarray(np.where(grey > 127, 255, 0).astype(np.uint8)).save(target)


CONVERSIONS = {"whole_numbers": whole_numbers, "whole_numbers_8": partial(whole_numbers, factor=8.0)}
CONVERSIONS |= {"grey_png": grey_png, "mask_png": mask_png}


def voxels_sha256(path: Path) -> str:
    """sha256 of the values alone, as little-endian int32 in C order: headers and compression do not count."""
    values = np.asarray(Image.open(path)) if path.suffix == ".png" else np.asarray(nibabel.load(path).dataobj)
    return hashlib.sha256(np.ascontiguousarray(values).astype("<i4").tobytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())

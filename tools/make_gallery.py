"""Draws docs/gallery.png: the previews of four bundles, two by two, each with its name and task.

python tools/make_gallery.py [NAME NAME NAME NAME] [--output docs/gallery.png]
"""

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from diffzoo.imaging.io.files import write_bytes

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("score_mri", "fgdm", "diffusemorph", "pddpm")
CELL, CAPTION, GAP = (720, 480), 40, 12  # pixels
BACK, INK = (20, 20, 20), (235, 235, 235)  # the ground of the previews


def gallery(names: Sequence[str]) -> Image.Image:
    """The picture of the previews of four bundles."""
    wide, high = CELL[0], CELL[1] + CAPTION
    picture = Image.new("RGB", (2 * wide + 3 * GAP, 2 * high + 3 * GAP), BACK)
    for k, name in enumerate(names):
        picture.paste(cell(ROOT / "bundles" / name), (GAP + (k % 2) * (wide + GAP), GAP + (k // 2) * (high + GAP)))
    return picture


def cell(bundle: Path) -> Image.Image:
    """The preview of a bundle, made to fit, below its name and task."""
    task = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))["task"]
    tile = Image.new("RGB", (CELL[0], CELL[1] + CAPTION), BACK)
    title = f"{bundle.name}: {task}"
    size = next(size for size in range(22, 9, -1) if ImageFont.load_default(size).getlength(title) <= CELL[0] - 8 or size == 10)
    ImageDraw.Draw(tile).text((4, 8), title, fill=INK, font=ImageFont.load_default(size))
    with Image.open(bundle / "docs" / "preview.png") as opened:
        picture = opened.convert("RGB")
    picture.thumbnail(CELL, Image.Resampling.LANCZOS)
    tile.paste(picture, ((CELL[0] - picture.width) // 2, CAPTION + (CELL[1] - picture.height) // 2))
    return tile


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "gallery.png")
    options = parser.parse_args(arguments)
    if len(options.names) != 4:
        parser.error("name four bundles, or none")
    buffer = io.BytesIO()
    gallery(options.names).quantize(256).save(buffer, "PNG", optimize=True)
    write_bytes(options.output, buffer.getvalue())


if __name__ == "__main__":
    main()

"""Writes index.html of a folder of packs: a page with a card a bundle, whole in one file, that works from disk and offline.

python tools/build_catalogue.py FOLDER

It tells what the newest pack of each bundle holds, as index.json lists it.
"""

import argparse
import base64
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import jinja2
from PIL import Image

from build_index import before
from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes
from diffzoo.tasks.task import task_of
from diffzoo.zoo import card
from diffzoo.zoo.index import Entry
from diffzoo.zoo.versions import newest

PAGE = "index.html"
TEMPLATE = Path(__file__).with_name("catalogue.html.j2")
WIDEST = 640  # pixels of a picture


def build(folder: Path) -> Path:
    """Writes the page and returns its path; InputError for a folder without an index."""
    index = before(folder)
    if index is None:
        raise InputError(f"{folder} has no index: make one with tools/build_index.py")
    cards = [described(folder, versions[newest(versions)]) for _, versions in sorted(index.bundles.items())]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    kinds = {choice: sorted({entry[choice] for entry in cards}) for choice in ("kind", "modality")}
    signers = ", ".join(key[:16] for key in index.signers)
    wheels = sorted(path.name for path in folder.glob("diffzoo-*.whl"))
    facts = {"zoo": index.zoo, "serial": index.serial, "date": index.date[:10], "signers": signers, "level": index.level}
    write_bytes(folder / PAGE, template.render(cards=cards, kinds=kinds, wheels=wheels, **facts).encode())
    return folder / PAGE


def described(folder: Path, entry: Entry) -> dict:
    """What the page tells of a bundle: from the index, and from metadata and picture of its pack."""
    with zipfile.ZipFile(folder / entry.file) as pack:
        metadata = json.loads(pack.read(f"{entry.name}/configs/metadata.json"))
        names = set(pack.namelist())
        preview = f"{entry.name}/docs/preview.png"
        picture = _picture(pack.read(preview)) if preview in names else ""
    task = task_of(metadata["kind"])
    command = f"diffzoo run {entry.name} -i {task.example} -o out" if task.example else f"diffzoo run {entry.name} -o out"
    modality = metadata.get("valid_range", {}).get("modality", "other")
    return {
        **{key: getattr(entry, key) for key in ("name", "version", "task", "headline", "file")},
        **{"kind": metadata["kind"].replace("_", " "), "modality": modality, "picture": picture, "command": command},
        **{"input": card.in_short(metadata, "input"), "output": card.in_short(metadata, "output")},
        **{"people": card.people(metadata), "weakest": card.weakest_point(metadata), "what": metadata["description"]},
        **{"size": f"{entry.size / 2**20:.1f} MiB", "licences": entry.licenses},
    }


def _picture(content: bytes) -> str:
    """A PNG as a smaller JPEG in a data address."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with packs and index.json")
    try:
        print(build(parser.parse_args(arguments).folder))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

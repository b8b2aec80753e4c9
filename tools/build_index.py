"""Lists the packs of a folder in index.json and signs it.

python tools/build_index.py --new-key KEYFILE       makes a key; the line it prints is the public one
python tools/build_index.py FOLDER --key KEYFILE    writes FOLDER/index.json and index.json.sig

Give --key twice while a new key takes over from an old one. Each pack is unpacked and checked as an installation would. The last
word it prints is the level of what is installed from there: official where diffzoo/zoo/official_keys.txt holds the public key.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes
from diffzoo.zoo.index import INDEX, SIGNATURES, Index, new_key, read_index, sign, written
from diffzoo.zoo.pack import pack_facts


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="the folder with NAME_vVERSION.zip files")
    parser.add_argument("--key", action="append", type=Path, default=[], help="a private key to sign with; repeats")
    parser.add_argument("--new-key", type=Path, metavar="KEYFILE", help="make a private key there, and show its public key")
    parser.add_argument("--zoo", help="name of a new index (a-z, 0-9, _); an index keeps the name it has")
    options = parser.parse_args(arguments)
    try:
        if options.new_key:
            print(new_key(options.new_key))
        if options.folder:
            print(build(options.folder, options.key, options.zoo))
        elif not options.new_key:
            parser.error("name the folder of packs, or --new-key")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build(folder: Path, keys: Sequence[Path], zoo: str | None = None) -> str:
    """Writes the index of `folder` and its signature, and returns a line on it; InputError for packs that are refused."""
    if not keys:
        raise InputError("an index must be signed: give --key KEYFILE (make one with --new-key KEYFILE)")
    earlier = before(folder)
    if earlier and zoo not in (None, earlier.zoo):
        raise InputError(f"the index of {folder} is named {earlier.zoo}, not {zoo}")
    packs = checked(folder)
    for facts in packs:
        published = earlier.bundles.get(facts["name"], {}).get(facts["version"]) if earlier else None
        if published and published.sha256 != facts["sha256"]:
            raise InputError(f"{facts['file']} is not the one that is published: changed content needs a new version")
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = written(earlier.zoo if earlier else zoo or "diffzoo", earlier.serial + 1 if earlier else 1, date, packs)
    signatures = sign(content, keys)
    index = read_index(content, signatures, keys=())
    write_bytes(folder / SIGNATURES, signatures)
    write_bytes(folder / INDEX, content)
    versions = sum(map(len, index.bundles.values()))
    return f"{folder / INDEX}: serial {index.serial}, {len(index.bundles)} bundles, {versions} versions, {index.level}"


def before(folder: Path) -> Index | None:
    """The index that is there, if any."""
    if not (folder / INDEX).is_file():
        return None
    signatures = (folder / SIGNATURES).read_bytes() if (folder / SIGNATURES).is_file() else None
    return read_index((folder / INDEX).read_bytes(), signatures, keys=())


def checked(folder: Path) -> list[dict]:
    """What an index tells of each pack of a folder."""
    paths = sorted(folder.glob("*_v*.zip"))
    if not paths:
        raise InputError(f"{folder} holds no pack NAME_vVERSION.zip: make one with `diffzoo pack`")
    packs = []
    for path in paths:
        with tempfile.TemporaryDirectory() as workspace:
            packs.append(pack_facts(path, workspace))
    return packs


if __name__ == "__main__":
    sys.exit(main())

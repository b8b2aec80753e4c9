"""Installed bundles in one file, with the indexes that vouch for them, for machines without a network. Light: no torch here."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.names import nearest
from diffzoo.zoo.archive import MANIFEST, MOST_MANIFEST, differences, open_zip, parse_manifest, write_zip
from diffzoo.zoo.index import INDEX, MOST_INDEX, SIGNATURES, Entry, Index, read_index
from diffzoo.zoo.pack import pack_name
from diffzoo.zoo.store import Check, Say, _silent, incoming, locked, provenance, remember, settle, stage, writing
from diffzoo.zoo.versions import home_folder, newest, split, versions_at

KIT = "kit.json"
PLACE = re.compile(rf"(?:packs/[^/]+\.zip|indexes/[0-9]{{1,3}}/(?:{re.escape(INDEX)}|{re.escape(SIGNATURES)})|{re.escape(KIT)})")


def export_kit(wanted: Sequence[str] | None, path: str | Path, home: str | Path | None = None) -> Path:
    """Writes installed bundles ("NAME": the newest version, "NAME==VERSION"; None: all versions of all) into a kit at `path`.

    A kit holds packs and the signed indexes that list them; equal content gives equal bytes. Raises InputError for a bundle that
    is not installed, was changed since, or is no longer in the newest index that was seen.
    """
    home = home_folder(home)
    roots = _chosen(wanted, home)
    files: dict[str, Path | bytes] = {KIT: b'{"kit": 1}\n'}
    numbers: dict[str, int] = {}
    with locked(home), writing(home), incoming(home) as work:
        for root in roots:
            source = _voucher(root, home)
            number = numbers.setdefault(source, len(numbers))
            for name in (INDEX, SIGNATURES):
                if (content := (home / "indexes" / source / name).read_bytes()) or name == INDEX:
                    files[f"indexes/{number}/{name}"] = content
            packed = work / pack_name(root.name, root.parent.name)
            listed = [*parse_manifest((root / MANIFEST).read_bytes())["files"], MANIFEST]
            write_zip(packed, {f"{root.name}/{file}": root / file for file in listed})
            files[f"packs/{packed.name}"] = packed
        target = Path(path)
        with atomic(target) as beside:
            write_zip(beside, files)
    return target


def _chosen(wanted: Sequence[str] | None, home: Path) -> list[Path]:
    shelves = sorted((home / "bundles").iterdir()) if (home / "bundles").is_dir() else []
    there = {shelf.name: versions for shelf in shelves if (versions := versions_at(shelf))}
    if not there:
        raise InputError(f"no bundle is installed in {home}: `diffzoo download` some first")
    if wanted is None:
        return [root for versions in there.values() for root in versions.values()]
    roots = []
    for word in wanted:
        name, version = split(word)
        if name not in there:
            raise InputError(f"no bundle {name!r} was installed; {nearest(name, there)}")
        if version is not None and version not in there[name]:
            raise InputError(f"{name} {version} is not installed; {', '.join(there[name])} is")
        roots.append(there[name][version or newest(there[name])])
    return list(dict.fromkeys(roots))


def _voucher(root: Path, home: Path) -> str:
    """The source whose newest index lists the bundle as it is."""
    label, record = f"{root.name} {root.parent.name}", provenance(root)
    if record is None or (changed := differences(root)):
        raise InputError(f"{label} is not as it was installed{f' ({changed[0]})' if record else ''}: download it again")
    for source in record["sources"]:
        try:
            document = json.loads((home / "indexes" / source / INDEX).read_bytes())
            if document["bundles"][root.name][root.parent.name]["manifest_sha256"] == record["manifest_sha256"]:
                return source
        except (OSError, ValueError, KeyError, TypeError):
            continue
    raise InputError(f"{label} is no longer in the newest index of {record.get('zoo')}: download another version, or remove it")


def import_kit(
    path: str | Path,
    home: str | Path | None = None,
    *,
    unsigned: bool = False,
    keys: Sequence[str] | None = None,
    check: Check | None = None,
    say: Say = _silent,
) -> list[Path]:
    """Installs every bundle of a kit, checked as `download` checks it, and returns their roots; all or, with InputError, none.

    A version that is installed already stays as it is.
    """
    home, path = home_folder(home), Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: name a kit that `diffzoo export` wrote")
    roots, staged = [], []
    with locked(home, say), writing(home), incoming(home) as work:
        packs, indexes = _opened(path, work, unsigned, keys)
        for pack in packs:
            entry, index = _vouched(pack, indexes)
            place = home / "bundles" / entry.name / entry.version
            if place.exists():
                say(f"{entry.name} {entry.version} is installed already")
                roots.append(place / entry.name)
                continue
            if reason := entry.obstacle():
                raise InputError(f"{entry.name} {entry.version} {reason}: upgrade it first")
            staged.append((stage(pack, entry, index, None, work, check), entry, index))
        for index in indexes:
            remember(index, None, home)
        for folder, entry, index in staged:
            roots.append(settle(folder, entry, home))
            say(f"installed {roots[-1]} ({index.level})")
    return roots


def _opened(path: Path, work: Path, unsigned: bool, keys: Sequence[str] | None) -> tuple[list[Path], list[Index]]:
    """The packs of a kit, copied into `work`, and its indexes."""
    with open_zip(path) as archive:
        names = archive.namelist()
        wrong = [name for name in names if not PLACE.fullmatch(name)]
        if wrong or KIT not in names:
            raise InputError(f"{path.name} is no kit of `diffzoo export`" + (f": {wrong[0]!r} is in it" if wrong else ""))
        texts = {}
        for entry in archive.infolist():
            if entry.filename.startswith("indexes/"):
                if entry.file_size > MOST_INDEX:
                    raise InputError(f"{path.name}: an index in it is too long: refused")
                texts[entry.filename] = archive.read(entry)
        packs = [Path(archive.extract(name, work)) for name in sorted(names) if name.startswith("packs/")]
    places = sorted({name.rsplit("/", 1)[0] for name in texts})
    indexes = []
    for place in places:
        if f"{place}/{INDEX}" not in texts:
            raise InputError(f"{path.name} has signatures without an index: refused")
        indexes.append(read_index(texts[f"{place}/{INDEX}"], texts.get(f"{place}/{SIGNATURES}"), keys, unsigned))
    if not packs or not indexes:
        raise InputError(f"{path.name} holds no {'bundle' if indexes else 'index'}: write it again with `diffzoo export`")
    return packs, indexes


def _vouched(pack: Path, indexes: Sequence[Index]) -> tuple[Entry, Index]:
    """What an index tells of a pack, found by the sha256 of its manifest, and that index."""
    with open_zip(pack) as archive:
        names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(f"/{MANIFEST}")]
        if len(names) != 1 or archive.getinfo(names[0]).file_size > MOST_MANIFEST:
            raise InputError(f"{pack.name} is refused: it has no {MANIFEST} of a sensible size")
        digest = hashlib.sha256(archive.read(names[0])).hexdigest()
    for index in indexes:
        for versions in index.bundles.values():
            for entry in _matching(versions, digest, pack.name):
                return entry, index
    raise InputError(f"{pack.name} is refused: no index of the kit vouches for it")


def _matching(versions: Mapping[str, Entry], digest: str, file: str) -> list[Entry]:
    return [entry for entry in versions.values() if entry.manifest_sha256 == digest and entry.file == file]

"""Bundles from an index into the home folder, versions side by side, all or nothing. Light: torch comes with the last check.

HOME/bundles/NAME/VERSION/NAME is a bundle's root, and record.json beside it tells where it is from; HOME/indexes holds the newest
index seen of each zoo, HOME/downloads what is on its way, HOME/incoming what is being checked.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.names import nearest
from diffzoo.zoo import transfer
from diffzoo.zoo.archive import MANIFEST, differences, sha256_of, unpack
from diffzoo.zoo.index import INDEX, MOST_INDEX, SIGNATURES, Entry, Index, read_index
from diffzoo.zoo.pack import check_content
from diffzoo.zoo.versions import home_folder, newest, split, versions_at

RECORD = "record.json"
PATIENCE = 600.0  # seconds to wait for another diffzoo
Check = Callable[[Path], None]
Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Says nothing."""


@contextmanager
def locked(home: Path, say: Say = _silent) -> Iterator[None]:
    """Holds the home folder against other processes and clears what a killed one left; InputError where it cannot be written."""
    from filelock import FileLock, Timeout

    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("waiting for another diffzoo that installs")
            try:
                lock.acquire(timeout=PATIENCE)
            except Timeout as error:
                raise InputError(f"another diffzoo has held {home} for {PATIENCE:.0f} s: let it end, then try again") from error
        try:
            shutil.rmtree(home / "incoming", ignore_errors=True)
            yield
        finally:
            lock.release()


@contextmanager
def writing(home: Path) -> Iterator[None]:
    """Turns a full or closed disk into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or home}: {error.strerror or error}: make room there, or set DIFFZOO_HOME") from error


@contextmanager
def incoming(home: Path) -> Iterator[Path]:
    """A folder on the disk of `home` that is gone afterwards."""
    place = home / "incoming" / secrets.token_hex(6)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(home / "incoming", ignore_errors=True)


def published(
    index: str | Path,
    home: str | Path | None = None,
    *,
    unsigned: bool = False,
    keys: Sequence[str] | None = None,
    say: Say = _silent,
):
    """The index (an `Index`) at an address or in a folder, believed as `read_index` does and not older than one seen before.

    The first signer of an address is told, with the key that is remembered from then on. Raises InputError also where an address
    that was signed by one key is now signed by others, who are neither keepers nor trusted.
    """
    home = home_folder(home)
    base = transfer.base_of(index)
    content = transfer.read(base + INDEX, MOST_INDEX)
    if content is None:
        raise InputError(f"there is no {INDEX} at {base}: name the folder or address where one is")
    read = read_index(content, transfer.read(base + SIGNATURES, MOST_INDEX), keys, unsigned)
    with locked(home):
        remember(read, base, home, say)
    return read


def remember(index: Index, base: str | None, home: Path, say: Say = _silent) -> None:
    """Keeps an index as the newest of its zoo and signers, and its signers for its address; InputError for a step back."""
    pins = _json(home / "indexes" / "signers.json")
    pinned = pins.get(base, []) if base else []
    if pinned and index.level not in ("official", "trusted") and not set(pinned) & set(index.signers):
        raise InputError(f"{base} was signed by {pinned[0][:16]}... before and is not now: refused; ask who keeps it")
    for source in sources(index, base):
        seen = _seen(home / "indexes" / source)
        if seen and (index.serial < seen[0] or (index.serial == seen[0] and index.content != seen[1])):
            raise InputError(f"the index of {index.zoo} has serial {index.serial}, {seen[0]} was seen: rolled back, refused")
    for source in sources(index, base):
        folder = home / "indexes" / source
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / SIGNATURES, index.signatures)
        _replace(folder / INDEX, index.content)
    if base and index.signers and not pinned:
        say(f"{base} is signed by {', '.join(index.signers)} ({index.level}): remembered, another signer will be refused")
    if base and index.signers:
        _replace(home / "indexes" / "signers.json", json.dumps({**pins, base: index.signers}, indent=1).encode())


def sources(index: Index, base: str | None) -> list[str]:
    """Names that tell one zoo from another: by its signers, so that all its mirrors are one; unsigned ones by address."""
    if not index.signers:
        return [f"{index.zoo}-unsigned-{hashlib.sha256((base or 'kit').encode()).hexdigest()[:16]}"]
    return [f"{index.zoo}-{key}" for key in index.signers]


def _seen(folder: Path) -> tuple[int, bytes] | None:
    try:
        content = (folder / INDEX).read_bytes()
        return json.loads(content)["serial"], content
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _replace(path: Path, content: bytes) -> None:
    with atomic(path) as beside:
        beside.write_bytes(content)


def download(
    wanted: str,
    index: str | Path | None,
    home: str | Path | None = None,
    *,
    offline: bool = False,
    unsigned: bool = False,
    keys: Sequence[str] | None = None,
    check: Check | None = None,
    say: Say = _silent,
) -> Path:
    """Installs "NAME" (the newest version that runs here) or "NAME==VERSION" from an index and returns the bundle's root.

    index: address or folder; offline: take what is installed, or a folder; unsigned: take an index that nobody signed; check:
    called with the unpacked bundle, raises InputError to refuse it. Nothing is used before its signature, size, sha256 and
    content are checked, and nothing half is ever in its place. Raises InputError with one line on what was refused.
    """
    home = home_folder(home)
    name, version = split(wanted)
    there = versions_at(home / "bundles" / name)
    remote = index is not None and transfer.is_remote(transfer.base_of(index))
    if version in there or (there and offline and remote):
        root = there[version or newest(there)]
        return _sound(root)
    if index is None or (offline and remote):
        raise InputError(f"{wanted} is not installed and {'--offline forbids to fetch it' if offline else 'no index is named'}")
    listed = published(index, home, unsigned=unsigned, keys=keys, say=say)
    entry = listed.choose(name, version)
    base = transfer.base_of(index)
    with locked(home, say), writing(home):
        if (root := versions_at(home / "bundles" / name).get(entry.version)) is not None:
            return _unchanged(_sound(root), entry)
        say(f"{name} {entry.version}, {entry.size / 2**20:.1f} MiB, {listed.signed} ({listed.level}), from {base}")
        part = _fetched(entry, base, home, say)
        with incoming(home) as work:
            staged = stage(part, entry, listed, base, work, check)
            root = settle(staged, entry, home)
        part.unlink()
    say(f"installed {root}")
    return root


def _sound(root: Path) -> Path:
    if changed := differences(root):
        raise InputError(f"{root.name} {root.parent.name} is not as it was installed ({changed[0]}): `diffzoo remove` it first")
    return root


def _unchanged(root: Path, entry: Entry) -> Path:
    if sha256_of(root / MANIFEST) != entry.manifest_sha256:
        raise InputError(f"the index has another {entry.name} {entry.version} than is installed: `diffzoo remove` that one first")
    return root


def _fetched(entry: Entry, base: str, home: Path, say: Say) -> Path:
    part = home / "downloads" / f"{entry.file}.{entry.sha256[:16]}.part"
    part.parent.mkdir(exist_ok=True)
    try:
        transfer.fetch(base + entry.file, part, entry.size, entry.sha256, say)
    except OSError:  # a full disk: give the room back
        part.unlink(missing_ok=True)
        raise
    return part


def stage(pack: Path, entry: Entry, index: Index, base: str | None, work: Path, check: Check | None) -> Path:
    """Unpacks and checks a pack in `work`, and returns the folder that holds the bundle and its record."""
    folder = work / f"{entry.name}-{entry.version}"
    try:
        manifest = unpack(pack, folder, entry.name)
        root = folder / entry.name
        if sha256_of(root / MANIFEST) != entry.manifest_sha256:
            raise InputError(f"{pack.name} is refused: its manifest is not the one that the index tells")
        facts = check_content(root)
        for content in (facts, manifest):
            if (content["name"], content["version"]) != (entry.name, entry.version):
                raise InputError(
                    f"it is {content['name']} {content['version']} by its own account, not {entry.name} {entry.version}"
                )
        if check is not None:
            check(root)
    except InputError as error:
        if pack.name.endswith(".part"):
            pack.unlink(missing_ok=True)
        raise InputError(str(error).replace(pack.name, entry.file)) from error
    record = {"name": entry.name, "version": entry.version, "level": index.level, "zoo": index.zoo, "from": base or "a kit"}
    record |= {"signers": list(index.signers), "sources": sources(index, base), "manifest_sha256": entry.manifest_sha256}
    record |= {"pack_sha256": entry.sha256, "installed": datetime.now(UTC).isoformat(timespec="seconds")}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return folder


def settle(staged: Path, entry: Entry, home: Path) -> Path:
    """Moves a staged folder to its place in one step, and returns the bundle's root."""
    place = home / "bundles" / entry.name / entry.version
    if (place.parent / "configs").exists():
        raise InputError(f"{place.parent} is a bundle that was put there by hand: move it away first")
    place.parent.mkdir(parents=True, exist_ok=True)
    os.rename(staged, place)
    return place / entry.name


def provenance(root: Path) -> dict | None:
    """The record of an installed bundle whose manifest is the one that was installed; None for any other folder."""
    record = _json(root.parent / RECORD)
    if not (root / MANIFEST).is_file() or record.get("manifest_sha256") != sha256_of(root / MANIFEST):
        return None
    return record


def trust_level(root: Path) -> str:
    """How far a bundle is to be believed: as the index that it came from, while it is unchanged; else "local"."""
    record = provenance(root)
    return "local" if record is None or differences(root) else record["level"]


def remove(wanted: str, home: str | Path | None = None) -> list[str]:
    """Removes "NAME" (all its versions) or "NAME==VERSION" and returns the versions removed; InputError where there is none."""
    home = home_folder(home)
    name, version = split(wanted)
    with locked(home), writing(home):
        shelf = home / "bundles" / name
        there = versions_at(shelf)
        if version is not None and version not in there and there:
            raise InputError(f"{name} {version} is not installed; {', '.join(there)} {'is' if len(there) == 1 else 'are'}")
        if not there:
            names = [p.name for p in (home / "bundles").iterdir() if versions_at(p)] if (home / "bundles").is_dir() else []
            raise InputError(f"no bundle {name!r} was installed; {nearest(name, names)}")
        with incoming(home) as work:
            for number in [version] if version else there:
                os.rename(shelf / number, work / number)
        if not any(shelf.iterdir()):
            shelf.rmdir()
    return [version] if version else list(there)

"""Zip files that are safe to open and the same bytes every time, and the manifest of what they hold. Light: no torch here."""

import hashlib
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from diffzoo.errors import InputError

MANIFEST = "manifest.json"
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")  # so no hidden file, drive letter, backslash or foreign script
RESERVED = {"con", "prn", "aux", "nul"} | {f"{device}{n}" for device in ("com", "lpt") for n in range(10)}  # Windows
MOST_FILES = 1000
MOST_BYTES = 2 * 2**30
MOST_MANIFEST = 2**20
MOST_RATIO = 100  # unpacked bytes a packed one, beyond the first MiB
LONGEST_PATH = 200
BLOCK = 2**20
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError)


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_path(path: str) -> str:
    """A relative path that means the same on every system, returned; InputError for any other."""
    parts = path.split("/")
    for part in parts:
        if not PART.fullmatch(part) or part.endswith(".") or part.split(".")[0].lower() in RESERVED:
            raise InputError(
                f"unsafe path {path[:80]!r}: names take letters, digits and _ . + - and do not start or end with a dot"
            )
    if len(path) > LONGEST_PATH:
        raise InputError(f"unsafe path {path[:60]!r}...: it is longer than {LONGEST_PATH} characters")
    return path


def check_apart(paths: Iterable[str]) -> None:
    """InputError where two paths are one, or differ by case alone, or one is a folder of another."""
    seen: dict[str, str] = {}
    for path in paths:
        if (other := seen.get(path.casefold())) is not None:
            what = "is there twice" if other == path else f"and {other!r} are one file where case does not count"
            raise InputError(f"{path!r} {what}")
        seen[path.casefold()] = path
    for path in list(seen.values()):
        parents = path.casefold().split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            if "/".join(parents[:depth]) in seen:
                raise InputError(f"{path!r} lies below a file of the archive")


def write_zip(target: Path, files: Mapping[str, Path | bytes]) -> None:
    """Writes files by archive path: sorted, uncompressed, with one date and one mode, so equal content gives equal bytes."""
    check_apart(map(check_path, files))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, on any system
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            content = files[path]
            entry.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
            with archive.open(entry, "w") as out:
                if isinstance(content, bytes):
                    out.write(content)
                else:
                    with open(content, "rb") as file:
                        shutil.copyfileobj(file, out, BLOCK)


def manifest_of(name: str, version: str, files: Mapping[str, Path | bytes]) -> bytes:
    """manifest.json of some files by their path in the bundle: name, version, and sha256 and size of each."""
    listed = {}
    for path in sorted(files):
        content = files[path]
        if isinstance(content, bytes):
            listed[path] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        else:
            listed[path] = {"sha256": sha256_of(content), "size": content.stat().st_size}
    manifest = {"manifest": 1, "name": name, "version": version, "files": listed}
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def parse_manifest(content: bytes) -> dict:
    """The content of a manifest.json, of the form that `manifest_of` gives; InputError otherwise."""
    try:
        manifest = json.loads(content)
        files = manifest["files"]
        sound = manifest["manifest"] == 1 and isinstance(manifest["name"], str) and isinstance(manifest["version"], str)
        for path, facts in files.items():
            check_path(path)
            sound &= type(facts["size"]) is int and facts["size"] >= 0
            sound &= re.fullmatch("[0-9a-f]{64}", facts["sha256"]) is not None and set(facts) == {"size", "sha256"}
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{MANIFEST} cannot be read: make the pack again with `diffzoo pack`") from error
    if not sound or not files or MANIFEST in files:
        raise InputError(f"{MANIFEST} is not of the form that `diffzoo pack` writes")
    check_apart(files)
    return manifest


def open_zip(path: Path) -> zipfile.ZipFile:
    """An open zip file, each of whose entries is a plain file of a safe name and a believable size; InputError otherwise."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(f"{path.name} is not a whole zip file ({error}): fetch it again") from error
    try:
        _check_ends(archive, path)
        _check_entries(archive.infolist(), path.name)
    except BaseException:
        archive.close()
        raise
    return archive


def _check_ends(archive: zipfile.ZipFile, path: Path) -> None:
    """Nothing before or after: else the end of a cut-off pack is taken for the zip file that a model.pt within it is."""
    with open(path, "rb") as file:
        file.seek(-22, 2)  # the record that a zip file without a comment ends with
        end = file.read(22)
    if end[:4] != b"PK\5\6" or end[-2:] != bytes(2) or min((entry.header_offset for entry in archive.infolist()), default=0) != 0:
        raise InputError(f"{path.name} is not a whole zip file (there is something before or after it): fetch it again")


def _check_entries(entries: list[zipfile.ZipInfo], name: str) -> None:
    if len(entries) > MOST_FILES:
        raise InputError(f"{name} is refused: it holds {len(entries)} files, more than {MOST_FILES}")
    for entry in entries:
        _check_entry(entry, name)
    try:
        check_apart(entry.filename for entry in entries)
    except InputError as error:
        raise InputError(f"{name} is refused: {error}") from error
    if (total := sum(entry.file_size for entry in entries)) > MOST_BYTES:
        raise InputError(f"{name} is refused: it would unpack to {total / 2**30:.1f} GiB, more than {MOST_BYTES / 2**30:.0f}")


def _check_entry(entry: zipfile.ZipInfo, name: str) -> None:
    try:
        check_path(entry.orig_filename)  # as stored: zipfile itself cuts a name at a zero byte
    except InputError as error:
        raise InputError(f"{name} is refused: {error}") from error
    kind = stat.S_IFMT(entry.external_attr >> 16)
    reasons = {
        "is no plain file": kind not in (0, stat.S_IFREG) or entry.external_attr & 0x10,  # 0x10: a folder on Windows
        "is encrypted": entry.flag_bits & 0x41,
        "is compressed in a way that is not taken": entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        "is a bomb": entry.file_size > BLOCK + MOST_RATIO * entry.compress_size,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise InputError(f"{name} is refused: {entry.filename!r} {reason}")


def unpack(path: Path, target: Path, top: str) -> dict:
    """Unpacks a pack with the one top folder `top` into `target`/`top`, each file checked, and returns its manifest.

    Raises InputError for an entry that `open_zip` refuses, a file that the manifest does not list or lists otherwise, a file that
    is not there, or too little room on the disk; the caller removes `target` then.
    """
    with open_zip(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if outside := [name for name in entries if not name.startswith(f"{top}/")]:
            raise InputError(f"{path.name} is refused: {outside[0]!r} is not in the one top folder {top}/")
        listing = entries.get(f"{top}/{MANIFEST}")
        if listing is None or listing.file_size > MOST_MANIFEST:
            raise InputError(f"{path.name} is refused: it has no {MANIFEST} of a sensible size: make it with `diffzoo pack`")
        content = _read(archive, listing, path.name)
        manifest = parse_manifest(content)
        _compare(entries, manifest, top, path.name)
        _check_room(target, sum(entry.file_size for entry in entries.values()))
        for name, facts in manifest["files"].items():
            _extract(archive, entries[f"{top}/{name}"], target / top / name, facts["sha256"], path.name)
        (target / top / MANIFEST).write_bytes(content)
    return manifest


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
    try:
        return archive.read(entry)
    except DAMAGED as error:
        raise InputError(f"{name} is damaged at {entry.filename!r}: fetch it again") from error


def _compare(entries: Mapping[str, zipfile.ZipInfo], manifest: Mapping, top: str, name: str) -> None:
    there, listed = {path.removeprefix(f"{top}/") for path in entries} - {MANIFEST}, set(manifest["files"])
    if extra := sorted(there - listed):
        raise InputError(f"{name} is refused: {extra[0]!r} is not in its manifest")
    if missing := sorted(listed - there):
        raise InputError(f"{name} is refused: its manifest lists {missing[0]!r}, which is not there")
    for path, facts in manifest["files"].items():
        if entries[f"{top}/{path}"].file_size != facts["size"]:
            raise InputError(f"{name} is refused: the size of {path!r} is not that of its manifest")


def _check_room(target: Path, needed: int) -> None:
    target.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(target).free) < needed + 2**20:
        raise InputError(f"{needed / 2**20:.0f} MiB are needed in {target.parent}, {free / 2**20:.0f} are free: make room")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, digest: str, name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    hashed = hashlib.sha256()
    with open(target, "xb") as out:
        try:
            with archive.open(entry) as source:
                while block := source.read(BLOCK):
                    hashed.update(block)
                    out.write(block)
        except DAMAGED as error:
            raise InputError(f"{name} is damaged at {entry.filename!r}: fetch it again") from error
    target.chmod(0o644)
    if hashed.hexdigest() != digest:
        raise InputError(f"{name} is refused: the sha256 of {entry.filename!r} is not that of its manifest")


def differences(root: Path) -> list[str]:
    """What in an unpacked bundle is not as its manifest says, a line each; empty when all is as it was packed."""
    try:
        files = parse_manifest((root / MANIFEST).read_bytes())["files"]
    except OSError:
        return [f"{MANIFEST} is missing"]
    there = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if not p.is_dir() or p.is_symlink()}
    lines = [f"{path} was added" for path in sorted(there.keys() - files.keys() - {MANIFEST})]
    for path, facts in files.items():
        if path not in there or there[path].is_symlink():
            lines.append(f"{path} is missing")
        elif sha256_of(there[path]) != facts["sha256"]:
            lines.append(f"{path} was changed")
    return lines

"""Checks of the version: what was published once does not change under one number, and numbers only rise."""

import json
import zipfile
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.zoo.archive import MANIFEST, open_zip, parse_manifest, sha256_of
from diffzoo.zoo.index import INDEX, SIGNATURES, read_index
from diffzoo.zoo.pack import METADATA, MODEL, content, pack, pack_facts
from diffzoo.zoo.verify.check import Broken, Skipped
from diffzoo.zoo.verify.subject import Subject
from diffzoo.zoo.versions import newest, order


def version(subject: Subject) -> str:
    """Against an earlier pack, folder or index: changed content has a higher version, and the old changelog is kept."""
    subject.after("files", "name")
    metadata = subject.metadata
    if subject.previous is None:
        raise Skipped("no earlier pack was given (--previous ZIP or FOLDER)")
    before = _before(Path(subject.previous), metadata["name"])
    if before is None:
        return f"{metadata['version']}, the first of {metadata['name']}"
    number, files, changelog = before
    now = {path: sha256_of(place) for path, place in content(subject.root).items()}
    changed = sorted(path for path in now.keys() | files.keys() if now.get(path) != files.get(path))
    if order(metadata["version"]) < order(number):
        raise Broken(f"version {metadata['version']} is older than {number}, which was there before", f"number it above {number}")
    if changed and metadata["version"] == number:
        raise Broken(
            f"{changed[0]} changed (of {len(changed)} files), but the version is still {number}",
            f"raise the version above {number}, and say in changelog what changed",
        )
    if lost := [entry for entry in changelog if entry not in metadata["changelog"]]:
        raise Broken(f"the changelog tells no more of {', '.join(lost)}", "keep the lines of earlier versions")
    return f"{metadata['version']}, {len(changed)} files changed since {number}"


def _before(previous: Path, name: str) -> tuple[str, dict[str, str], dict] | None:
    """Version, sha256 by path and changelog of an earlier pack, bundle folder, or the newest pack of a folder with an index."""
    if (previous / INDEX).is_file():
        signatures = previous / SIGNATURES
        signed = signatures.read_bytes() if signatures.is_file() else None
        entries = read_index((previous / INDEX).read_bytes(), signed, keys=(), unsigned=True).bundles.get(name)
        return _of_pack(previous / entries[newest(entries)].file) if entries else None
    if previous.is_dir():
        metadata = json.loads((previous / METADATA).read_text(encoding="utf-8"))
        files = {path: sha256_of(place) for path, place in content(previous.resolve()).items()}
        return metadata["version"], files, metadata["changelog"]
    if not previous.is_file():
        raise InputError(f"{previous} is not there: --previous takes a pack, a bundle folder or a folder with {INDEX}")
    return _of_pack(previous)


def _of_pack(path: Path) -> tuple[str, dict[str, str], dict]:
    with open_zip(path) as archive:
        top = archive.namelist()[0].split("/")[0]
        manifest = parse_manifest(_read(archive, f"{top}/{MANIFEST}"))
        metadata = json.loads(_read(archive, f"{top}/{METADATA}"))
    listed = {name: facts["sha256"] for name, facts in manifest["files"].items()}
    twins = {MODEL, *(name.removesuffix(".yaml") + ".json" for name in listed if name.endswith(".yaml"))}
    return manifest["version"], {name: digest for name, digest in listed.items() if name not in twins}, metadata["changelog"]


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError as error:
        raise InputError(f"{archive.filename} has no {name}: make it with `diffzoo pack`") from error


def packed(subject: Subject) -> str:
    """It can be packed: a zip with the sha256 and size of every file, which an installation takes."""
    subject.after("files", "sizes", "scan", "name", "weights")
    path = pack(subject.root, subject.folder("pack"))
    facts = pack_facts(path, subject.workspace / "unpacked")
    return f"{facts['file']}, {facts['size'] / 2**20:.1f} MiB, manifest {facts['manifest_sha256'][:16]}"

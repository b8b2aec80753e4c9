"""What ran on what: the bundle, the software and the input, for reports."""

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("diffzoo", "torch", "monai", "numpy", "nibabel", "SimpleITK")
HEADERS = (".mhd", ".nhdr", ".npy")  # whose values or geometry lie in a file of the same stem beside them


def bare(value):
    """A setting as it is, of a path the last part, also behind a name and "=": a report names no folder of a person."""
    if not isinstance(value, str) or not ("/" in value or "\\" in value):
        return value
    name, equals, path = value.partition("=")
    return f"{name}={Path(path).name}" if equals and "/" not in name else Path(value).name


def input_facts(path: str | Path) -> dict[str, str]:
    """Name and sha256 of an input: of a file, or of the sorted hashes of the files of a folder or of a header and its data."""
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    elif path.suffix.lower() in HEADERS:
        files = [p for p in path.parent.iterdir() if p.is_file() and p.name.startswith(f"{path.stem}.")]
    hashes = sorted(sha256(p) for p in files)
    digest = hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return {"name": path.name, "sha256": digest}


def sha256(path: str | Path) -> str:
    """Hexadecimal sha256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundle_facts(root: str | Path, weights: str | Path) -> dict[str, str]:
    """Name, version and weight hash of the bundle at `root`."""
    described = json.loads((Path(root) / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return {"name": described["name"], "version": described["version"], "weights_sha256": sha256(weights)}


def software_facts() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package.lower()] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package.lower()] = "source"
    return versions

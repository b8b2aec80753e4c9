"""What ran: the bundle and the software, for reports."""

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("diffzoo", "torch", "monai", "numpy", "nibabel", "SimpleITK")


def sha256(path: str | Path) -> str:
    """Hexadecimal sha256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def bundle_facts(root: str | Path, weights: str | Path) -> dict[str, str]:
    """Name, version and weight hash of the bundle at `root`."""
    described = json.loads((Path(root) / "configs" / "metadata.json").read_text())
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

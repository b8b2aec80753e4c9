"""Is this installation fit to work?"""

import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib import metadata

from diffzoo.errors import InputError
from diffzoo.facts import sha256
from diffzoo.zoo.bundle import installed

NEEDED = {"torch": "2.6", "monai": "1.6.1", "numpy": "2", "nibabel": "5.3", "pydicom": "3", "SimpleITK": "2.4", "h5py": "3.12"}


@dataclass(frozen=True)
class Check:
    """One thing looked at: what, what was found, whether it is good, and what to do when it is not."""

    what: str
    detail: str
    good: bool = True
    remedy: str = ""


def checks() -> list[Check]:
    """All checks, cheap ones first."""
    return [_python(), *_packages(), _device(), *_bundles()]


def _python() -> Check:
    version = platform.python_version_tuple()
    return Check("python", platform.python_version(), (int(version[0]), int(version[1])) >= (3, 11), "use Python 3.11 or newer")


def _packages() -> list[Check]:
    rows = []
    for name, least in NEEDED.items():
        if importlib.util.find_spec(name) is None:
            rows.append(Check(name, "not installed", False, f"pip install '{name}>={least}'"))
            continue
        version = metadata.version(name)
        rows.append(Check(name, version, _numbers(version) >= _numbers(least), f"pip install '{name}>={least}'"))
    return rows


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdigit())


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", f"cuda, {torch.cuda.get_device_name()}")
    return Check("device", f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()} cores")


def _bundles() -> list[Check]:
    bundles = installed()
    if not bundles:
        return [Check("bundles", "none", False, "run from a checkout, or set DIFFZOO_HOME")]
    return [_weights(bundle) for bundle in bundles]


def _weights(bundle) -> Check:
    what = f"bundle {bundle.name}"
    try:
        described = bundle.metadata
    except InputError as error:
        return Check(what, str(error), False, "fetch the bundle again")
    if not bundle.weights.is_file():
        return Check(what, "no weights", False, "fetch the bundle again, or train it")
    if sha256(bundle.weights) != described["weights_sha256"]:
        return Check(what, "its weights are not those that its metadata describes", False, "fetch the bundle again")
    return Check(what, f"{described['version']}, weights whole ({bundle.weights.stat().st_size / 2**20:.1f} MiB)")

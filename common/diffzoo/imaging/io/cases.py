"""Inputs as a list of cases, each with the name of its outputs."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from diffzoo.imaging.io.files import RAW, case_names, suffix_of
from diffzoo.imaging.io.tree import find_cases

NAMED = re.compile(r"([A-Za-z][A-Za-z0-9]*)=(.+)", re.DOTALL)  # t1=scan.nii.gz


def cases_at(path: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """[{"image": path, "case": name}] for a file, a DICOM folder, a folder of these, or several; InputError for none.

    What an image of a person is may stand before it, `t1=scan.nii.gz`, and is then its "role".
    """
    given = [path] if isinstance(path, str | Path) else list(path)
    entries = [_named(item) for item in given]
    paths = list(dict.fromkeys((p, role) for item, role in entries for p in find_cases(item))) or find_cases(path)
    names = case_names([p for p, _ in paths])
    return [
        {"image": str(p), "case": name, **({"role": role} if role else {})} for (p, role), name in zip(paths, names, strict=True)
    ]


def _named(path: str | Path) -> tuple[str | Path, str | None]:
    """A path and the role before it; a file whose whole name has that form is a path."""
    named = NAMED.fullmatch(str(path))
    return (path, None) if named is None or os.path.lexists(path) else (named[2], named[1].lower())


def stored_shape(path: str | Path) -> tuple[int, ...] | None:
    """Shape of a volume, a k-space or a sinogram file, read from the header alone; None where that is not possible."""
    name = str(path)
    try:
        if suffix_of(name) in (".nii", ".nii.gz"):
            import nibabel

            return tuple(nibabel.load(name).shape)
        if suffix_of(name) == ".npy":
            import numpy as np

            return tuple(np.lib.format.open_memmap(name, mode="r").shape)
        if suffix_of(name) == ".npz":
            import numpy as np

            with np.load(name, allow_pickle=False) as arrays:
                return tuple(arrays["kspace"].shape)
        if suffix_of(name) in RAW:
            import h5py

            with h5py.File(name, "r") as file:
                return tuple(file["kspace" if "kspace" in file else "sinogram"].shape)
    except Exception:  # the reader says later, and better, what is wrong with the file
        return None
    return None

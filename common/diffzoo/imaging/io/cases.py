"""Inputs as a list of cases, each with the name of its outputs."""

from collections.abc import Sequence
from pathlib import Path

from diffzoo.imaging.io.files import RAW, case_names, find_cases, suffix_of


def cases_at(path: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """[{"image": path, "case": name}] for a file, a DICOM folder, a folder of these, or several; InputError for none."""
    paths = find_cases(path)
    return [{"image": str(p), "case": name} for p, name in zip(paths, case_names(paths), strict=True)]


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

            with np.load(name, allow_pickle=False) as held:
                return tuple(held["kspace"].shape)
        if suffix_of(name) in RAW:
            import h5py

            with h5py.File(name, "r") as file:
                return tuple(file["kspace" if "kspace" in file else "sinogram"].shape)
    except Exception:  # the reader says later, and better, what is wrong with the file
        return None
    return None

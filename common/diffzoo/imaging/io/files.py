"""Volumes and pictures from and to files, with their geometry: NIfTI, NRRD, MHA, PNG, JPEG and DICOM in, no DICOM out.

Everything is read as [C, X, Y, Z] float32 with an affine from voxel index to RAS+ world in mm, and written atomically.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.imaging.io import dicom, formats

if TYPE_CHECKING:
    from monai.data import MetaTensor

KINDS = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "mha",
    ".mhd": "mha",
    ".png": "png",
    ".jpg": "png",
    ".jpeg": "png",
}
PICTURES = (".png", ".jpg", ".jpeg")
FEW = 32  # values of a label map, at the most
RAW = (".h5", ".hdf5", ".npy", ".npz")  # measured data, read elsewhere
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".png")
LONGEST_NAME = 160  # bytes of a case's name: file systems take 255, and outputs have endings
ACCEPTED = "NIfTI (.nii, .nii.gz), NRRD, MHA, PNG, JPEG, HDF5 (.h5), NumPy (.npy, .npz) or a DICOM folder"


def suffix_of(path: str | Path) -> str:
    """The known image or raw-data suffix of a name in lower case (".nii.gz", ".png", ...), "" for any other."""
    name = Path(path).name.lower()
    return next((end for end in (*KINDS, *RAW, ".dcm", ".ima") if name.endswith(end)), "")


def check_exists(path: Path) -> None:
    """InputError for a path where nothing is, with the nearest names there."""
    if path.exists():
        return
    parent = path.parent
    if not parent.is_dir():
        raise InputError(f"{path}: no such file; the folder {parent} does not exist")
    names = sorted(p.name for p in parent.iterdir())
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    raise InputError(f"{path}: no such file" + (f"; did you mean {' or '.join(near)}?" if near else " or folder: check the path"))


def case_name(path: str | Path) -> str:
    """Name of a case for its outputs: file name without image suffix, or folder name, as any file system can write it."""
    path = Path(path)
    name = path.name or path.resolve().name
    end = "" if path.is_dir() else suffix_of(path)
    return _writable(name[: len(name) - len(end)]) or "image"


def _writable(name: str) -> str:
    """The name with bytes that are no UTF-8 read as Latin-1, control characters as "_", cut to what leaves room for endings."""
    plain = "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in name)
    plain = "".join(c if c.isprintable() else "_" for c in plain)
    return plain.encode()[:LONGEST_NAME].decode(errors="ignore")


def case_names(paths: Sequence[str | Path]) -> list[str]:
    """One name a case, all different: equal names take the folder that tells them apart, or else a number."""
    plain, full = [case_name(p) for p in paths], [Path(p).absolute() for p in paths]
    names = list(plain)
    for name in {n for n in plain if plain.count(n) > 1}:
        group = [i for i, n in enumerate(plain) if n == name]
        for up in range(1, min(len(full[i].parts) for i in group) - 1):
            folders = [full[i].parts[-1 - up] for i in group]
            if len(set(folders)) == len(folders):
                for i, folder in zip(group, folders, strict=True):
                    names[i] = _writable(f"{folder}_{name}")
                break
    taken: set[str] = set()
    for i, name in enumerate(names):
        number = 2
        while names[i] in taken:
            names[i], number = f"{name}_{number}", number + 1
        taken.add(names[i])
    return names


def read_volume(path: str | Path, *, color: bool = False, allow_constant: bool = False, frame: int | None = None) -> "MetaTensor":
    """Volume [1, X, Y, Z] float32 of one case, with affine (RAS+ world, mm) and the facts of its source in `meta`.

    A picture is [1, H, W, 1]; with `color` an RGB one is [3, H, W, 1]. `frame` picks a volume of a 4D NIfTI, from 0. meta: kind
    ("nifti", "nrrd", "mha", "png", "dicom"), source (file or folder name), shape and dtype (as stored), affine, original_affine,
    space, warnings (list of str), and for NIfTI sform_code and qform_code, for DICOM modality and series_description.
    `allow_constant` lets labels pass, empty ones too; as a scan a volume of few whole numbers, 0 the least, is refused. Raises
    InputError for what is not one finite 3D or 2D image with a usable affine.
    """
    from monai.data import MetaTensor
    from monai.utils import SpaceKeys

    path = Path(path)
    dicom.check_link(path)
    check_exists(path)
    kind = "dicom" if path.is_dir() or (path.is_file() and not suffix_of(path) and dicom.is_dicom(path)) else None
    kind = kind or {".dcm": "dicom", ".ima": "dicom"}.get(suffix_of(path)) or KINDS.get(suffix_of(path))
    if kind is None:
        hint = "raw data, read by the bundles that take it" if suffix_of(path) in RAW else "not an image"
        raise InputError(f"{path}: {hint}; accepted are {ACCEPTED}")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty: copy it again")
    reader = {
        "nifti": formats.read_nifti,
        "nrrd": formats.read_itk,
        "mha": formats.read_itk,
        "png": formats.read_picture,
        "dicom": formats.read_dicom,
    }[kind]
    array, affine, facts = reader(path, color) if frame is None else formats.read_nifti(path, color, frame)
    _check_values(path, array, allow_constant)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(f"{path}: the affine is singular or not finite, so the place of voxels is unknown: repair the header")
    meta = {"kind": kind, "source": path.name, "filename_or_obj": str(path), "warnings": [], **facts}
    meta |= {"original_affine": affine.copy(), "space": SpaceKeys.RAS}
    import torch

    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), affine=torch.from_numpy(affine), meta=meta)


def _check_values(path: Path, array: np.ndarray, allow_constant: bool) -> None:
    if array.size == 0:
        raise InputError(f"{path}: an axis has length 0 (shape {list(array.shape[1:])}): the image is empty")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(low + high):
        raise InputError(f"{path}: holds NaN or infinite values: replace them (by 0 outside the body) and save it again")
    if allow_constant:
        return
    if low == high:
        raise InputError(f"{path}: every voxel is {low:g}: there is nothing to work on")
    if low == 0 and suffix_of(path) not in PICTURES and array.size > 100 * FEW and (count := _few(array)):
        raise InputError(f"{path}: has {count} values, all whole numbers: a label map, not a scan; leave it out")


def _few(array: np.ndarray) -> int:
    """How many values a label map has, 0 for what is none."""
    sampled = np.unique(array.ravel()[:: max(1, array.size // 100_000)])
    values = np.unique(array) if len(sampled) <= FEW else sampled
    return len(values) if len(values) <= FEW and np.array_equal(values, values.round()) else 0


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Writes bytes atomically and returns the path."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_json(path: str | Path, value: object) -> Path:
    """Writes a JSON file (UTF-8, two-space indent) atomically and returns the path; NaN is refused with ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return write_bytes(path, text.encode(errors="backslashreplace"))  # bytes of a file name that are no UTF-8


def write_volume(
    path: str | Path,
    image: "np.ndarray | MetaTensor",
    affine: np.ndarray | None = None,
    *,
    like: Mapping | None = None,
    dtype: str | np.dtype = "float32",
) -> Path:
    """Writes a volume [X, Y, Z] or [1, X, Y, Z] with its affine [4, 4] (RAS+ world, mm) atomically and returns the path.

    The suffix picks the kind: .nii.gz, .nii, .nrrd, .mha, or .png for one slice. A tensor with an affine brings its own.
    `like` is the meta of the source: NIfTI space codes are copied from it, and a PNG is 16-bit where it was. Integer dtypes
    and PNG are rounded and clipped to their range. Raises InputError for another suffix or shape, and ValueError for NaN
    or no affine.
    """
    affine = getattr(image, "affine", None) if affine is None else affine
    if affine is None:
        raise ValueError(f"{path}: an array has no affine of its own: pass one")
    affine, array = np.asarray(affine, dtype=np.float64), np.asarray(image)
    array = array[0] if array.ndim == 4 and len(array) == 1 else array
    end = suffix_of(path)
    if end not in WRITABLE:
        raise InputError(f"{path}: cannot be written; use one of {', '.join(WRITABLE)}")
    if array.ndim != 3 or (end == ".png" and array.shape[2] != 1):
        raise InputError(f"{path}: shape {list(array.shape)} is not one {'slice [H, W, 1]' if end == '.png' else 'volume'}")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: the result holds NaN or infinite values and is not written")
    source = like or {}
    if end == ".png":
        dtype = "uint16" if np.dtype(source.get("dtype", "uint8")).itemsize > 1 else "uint8"
    array = _cast(array, np.dtype(dtype))
    writer: Callable = {".png": formats.write_png, ".nrrd": formats.write_itk, ".mha": formats.write_itk}.get(
        end, formats.write_nifti
    )
    with atomic(path) as temporary:
        writer(temporary, array, affine, source)
    return Path(path)


def write_frames(path: str | Path, frames: np.ndarray, affine: np.ndarray, *, like: Mapping | None = None) -> Path:
    """Writes volumes [n, X, Y, Z] of one grid as a 4D NIfTI of n frames, atomically, and returns the path; errors as above."""
    if suffix_of(path) not in (".nii", ".nii.gz"):
        raise InputError(f"{path}: frames are written as .nii.gz or .nii")
    array = np.moveaxis(np.asarray(frames, dtype=np.float32), 0, -1)
    if array.ndim != 4 or not np.isfinite(array).all():
        raise ValueError(f"{path}: shape {list(array.shape)} is not that of frames, or they hold NaN; nothing is written")
    with atomic(path) as temporary:
        formats.write_nifti(temporary, array, np.asarray(affine, dtype=np.float64), like or {})
    return Path(path)


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind not in "iu" or array.dtype == dtype:
        return array.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(array), limits.min, limits.max).astype(dtype)

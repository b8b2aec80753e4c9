"""Measured k-space in HDF5 (fastMRI's kind, or ISMRMRD) or npz files: `kspace` [slices, coils, H, W] or [slices, H, W], `mask`.

k-space and masks are CENTRED and the transform orthonormal, as in fastMRI; `operators.fourier.from_centred` and `uncentre` bring
them to the operators. Spacings are (slice, row, column) in mm.
"""

import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from torch import Tensor

from diffzoo.atomic import atomic
from diffzoo.imaging.io.ismrmrd import is_ismrmrd, read_acquisitions
from diffzoo.imaging.simulate import simulate_kspace

COILS, FEW = 64, 16  # more coils than that no scanner has; rows shorter than so many are no image's


@dataclass(frozen=True, eq=False)
class KSpace:
    """What one file measured: kspace complex64 [slices, coils, H, W], zero where mask is; mask float32 [H, W], None when full.

    `attributes` are the file's own, with `spacing` (slice, row, column) in mm where the file tells it.
    """

    kspace: Tensor
    mask: Tensor | None = None
    attributes: dict = field(default_factory=dict)


def read_kspace(path: str | os.PathLike) -> KSpace:
    """Reads and checks one HDF5 or npz file of measured k-space.

    Without a `mask` dataset, samples that are 0 in every slice and coil count as not measured. Raises ValueError, in one line,
    for a file that is missing or of another kind, has no complex `kspace` of 3 or 4 dimensions, has its axes in another order,
    holds NaN, infinity or nothing but zeros, or has a mask that does not fit, is not of 0 and 1, or selects no measured sample.
    """
    raw, raw_mask, attributes = _load(Path(path))
    kspace = _check_kspace(raw, path)
    if raw_mask is None:
        measured = (kspace != 0).any((0, 1))
        return KSpace(torch.from_numpy(kspace), None if measured.all() else _mask_tensor(measured), attributes)
    mask = _check_mask(raw_mask, kspace.shape[2:], path)
    kspace = kspace * mask.astype(np.float32)  # what the mask leaves out was not measured, even where the file holds it
    if not kspace.any():
        raise ValueError(f"{path}: the mask selects no measured sample of kspace; check that both are centred alike")
    return KSpace(torch.from_numpy(kspace), None if mask.all() else _mask_tensor(mask), attributes)


def _mask_tensor(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.astype(np.float32))


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None, dict]:
    import h5py  # here, so that the command line starts without it

    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix.lower() == ".npz":
        return _load_npz(path)
    try:
        with h5py.File(path, "r") as file:
            if is_ismrmrd(file):
                kspace, mask, spacing = read_acquisitions(file, path)
                return kspace, None if mask.all() else mask, {"spacing": spacing}
            if not isinstance(file.get("kspace"), h5py.Dataset):
                contents = ", ".join(sorted(file)) or "nothing"
                raise ValueError(f"{path}: no dataset 'kspace' (it holds: {contents})")
            mask = file["mask"][()] if isinstance(file.get("mask"), h5py.Dataset) else None
            return file["kspace"][()], mask, _attributes(file)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable HDF5 file, or truncated ({str(error).splitlines()[0]})") from error


def _load_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None, dict]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if "kspace" not in file:
                raise ValueError(f"{path}: no array 'kspace' (it holds: {', '.join(sorted(file)) or 'nothing'})")
            return file["kspace"], file.get("mask", None), {}
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a readable npz file, or truncated") from error


def _attributes(file) -> dict:
    attributes = {key: _plain(value) for key, value in file.attrs.items()}
    if "spacing" not in attributes and "ismrmrd_header" in file:
        spacing = _header_spacing(file["ismrmrd_header"][()], file["kspace"].shape)
        attributes = attributes if spacing is None else {**attributes, "spacing": spacing}
    elif "spacing" in attributes:
        attributes["spacing"] = _check_spacing(attributes["spacing"], file.filename)
    return attributes


def _plain(value):
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def _header_spacing(header: bytes, shape: Sequence[int]) -> tuple[float, float, float] | None:
    """Spacing from the encoded field of view of an ISMRMRD header, whose x runs along H and y along W; None if not told."""
    try:
        root = ElementTree.fromstring(header)
        space = "{*}encoding/{*}encodedSpace/"
        view = [float(root.findtext(f"{space}{{*}}fieldOfView_mm/{{*}}{axis}")) for axis in "xyz"]
        slices = float(root.findtext(f"{space}{{*}}matrixSize/{{*}}z"))
        return _check_spacing((view[2] / slices, view[0] / shape[-2], view[1] / shape[-1]), "ismrmrd_header")
    except (ElementTree.ParseError, TypeError, ValueError, ZeroDivisionError):
        return None


def _check_spacing(spacing, where) -> tuple[float, float, float]:
    try:
        values = tuple(float(v) for v in np.ravel(spacing))
    except (TypeError, ValueError):
        values = ()
    if len(values) != 3 or not all(math.isfinite(v) and v > 0 for v in values):
        raise ValueError(f"{where}: spacing must be three positive numbers (slice, row, column) in mm, not {spacing}")
    return values


def _check_kspace(raw, path) -> np.ndarray:
    raw = np.asarray(raw)
    if not np.iscomplexobj(raw):
        raise ValueError(f"{path}: kspace must be complex, not {raw.dtype}")
    if raw.ndim not in (3, 4):
        raise ValueError(f"{path}: kspace must be [slices, coils, H, W] or [slices, H, W], not of shape {list(raw.shape)}")
    if raw.size and (wrong := _order(raw.shape)):
        wanted = f"[slices, coils, H, W] or [slices, H, W] is wanted, and {list(raw.shape)} came"
        raise ValueError(f"{path}: {wrong}: {wanted}: move the axes")
    if raw.size == 0:
        raise ValueError(f"{path}: kspace is empty, of shape {list(raw.shape)}")
    with np.errstate(over="ignore"):
        kspace = np.ascontiguousarray(raw if raw.ndim == 4 else raw[:, None], dtype=np.complex64)
    if not np.isfinite(kspace).all():
        raise ValueError(f"{path}: kspace holds NaN or infinite values")
    if not kspace.any():
        raise ValueError(f"{path}: kspace is all zero")
    return kspace


def _order(shape: Sequence[int]) -> str | None:
    """What makes a shape look like another order than [slices, coils, H, W] or [slices, H, W]; None where nothing does."""
    if len(shape) == 3:
        last = shape[2] <= COILS < min(shape[:2])
        return "the last axis of kspace is too short for a row, as if coils came last" if last else None
    if shape[1] > COILS:
        return f"kspace would have {shape[1]} coils"
    return "rows of kspace are shorter than its coils are many, as if coils came last" if shape[3] < shape[1] > FEW else None


def _check_mask(raw, shape: Sequence[int], path) -> np.ndarray:
    """Boolean mask [H, W] from [W], [H, W], or either with axes of length 1 before it or, as in fastMRI, one after it."""
    raw = np.asarray(raw)
    if raw.dtype.kind not in "biuf" or not np.isin(raw, (0, 1)).all():
        raise ValueError(f"{path}: mask must hold only 0 (not measured) and 1 (measured)")
    height, width = shape
    for kept in (raw.shape, raw.shape[:-1] if raw.shape[-1:] == (1,) else raw.shape):
        lead, tail = kept[:-2], kept[-2:]
        if all(n == 1 for n in lead) and tail in ((width,), (1, width), (height, width)):
            mask = np.broadcast_to(raw.reshape(tail).astype(bool), (height, width))
            if not mask.any():
                raise ValueError(f"{path}: the mask measures nothing")
            return mask
    raise ValueError(f"{path}: mask of shape {list(raw.shape)} does not fit kspace; it must be [{width}] or [{height}, {width}]")


def write_kspace(
    path: str | os.PathLike,
    kspace,
    mask=None,
    spacing: Sequence[float] | None = None,
    attributes: Mapping[str, str | int | float] | None = None,
) -> None:
    """Writes centred k-space [slices, coils, H, W] or [slices, H, W] and a mask [W] or [H, W] (arrays or tensors).

    The file appears whole or not at all. spacing (slice, row, column) in mm. Raises ValueError for what `read_kspace` refuses.
    """
    import h5py

    path = Path(path)
    data = _check_kspace(kspace, path)
    chosen = None if mask is None else _check_mask(mask, data.shape[2:], path)
    extra = dict(attributes or {}) | ({} if spacing is None else {"spacing": _check_spacing(spacing, path)})
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist")
    with atomic(path) as beside, h5py.File(beside, "w") as file:
        file["kspace"] = data if np.ndim(kspace) == 4 else data[:, 0]
        if chosen is not None:
            file["mask"] = chosen.astype(np.float32)
        file.attrs.update(extra)


def write_simulated(
    path: str | os.PathLike,
    image,
    coils: int = 8,
    mask=None,
    noise_sd: float = 0.0,
    seed: int = 0,
    spacing: Sequence[float] | None = None,
) -> None:
    """Simulates coils on a magnitude volume [D, H, W] and writes the k-space that mask (centred [W] or [H, W]) measures.

    noise_sd in image units, for the real and the imaginary part. Raises ValueError as `simulate_kspace` and `write_kspace` do.
    """
    kspace = simulate_kspace(image, coils, noise_sd, torch.Generator().manual_seed(seed))
    if mask is not None:
        kspace = kspace * _mask_tensor(_check_mask(mask, kspace.shape[2:], path))
    write_kspace(path, kspace, mask, spacing, {"acquisition": "simulated", "coils": coils, "noise_sd": noise_sd, "seed": seed})

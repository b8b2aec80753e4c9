"""Axis order, directions and spacing of volumes [C, *S] that carry an affine (voxel index -> RAS+ world, mm).

Only permutations, flips and crops are done here, so voxel values are never touched.
"""

import re
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from torch import Tensor

from diffzoo.errors import InputError

LABELS = (("L", "R"), ("P", "A"), ("I", "S"))
SLICE_AXCODES = ("ASR", "RSA", "RAS")  # slices last: sagittal, coronal, axial
ANISOTROPY = 1.2  # spacing ratio above which the thick axis is the slice axis


def spacing(affine: np.ndarray) -> tuple[float, ...]:
    """Voxel size in mm along each stored axis, the column norms of affine [D+1, D+1]."""
    return tuple(float(s) for s in np.linalg.norm(np.asarray(affine, dtype=np.float64)[:-1, :-1], axis=0))


def check_spacing(sizes: Sequence[float], low: float, high: float) -> str | None:
    """A warning where one of the voxel sizes (mm) lies outside [low, high], else None."""
    if all(low * (1 - 1e-3) <= size <= high * (1 + 1e-3) for size in sizes):
        return None
    text = " x ".join(f"{size:.3g}" for size in sizes)
    return f"spacing {text} mm is outside the training range, {low:g} to {high:g} mm: the result may be poor"


def orient(image: MetaTensor, axcodes: str) -> MetaTensor:
    """image [C, *S] with its axes permuted and flipped to `axcodes`, such as "RAS"; its affine follows."""
    return Orientation(axcodes=axcodes, labels=LABELS)(_alias(image, image.affine))


def _alias(image: MetaTensor, affine: object) -> MetaTensor:
    # same voxels under another header, so that what transforms do to the header stays off the argument
    alias = MetaTensor(image.as_tensor(), meta=dict(image.meta))
    alias.affine = affine
    return alias


def axcodes(affine: np.ndarray) -> str:
    """Letters of the directions in which the stored axes grow, nearest ones where the affine [4, 4] is oblique."""
    return "".join(nib.aff2axcodes(np.asarray(affine, dtype=np.float64), labels=LABELS))


def slice_axis(affine: np.ndarray, shape: Sequence[int]) -> int:
    """World axis (0 sagittal, 1 coronal, 2 axial) along which a volume of this affine [4, 4] and shape [3] was sliced.

    It is the only axis of length 1, else the one of the largest spacing where the largest is over 1.2 times the smallest,
    else the axial one.
    """
    affine = np.asarray(affine, dtype=np.float64)
    world = nib.io_orientation(affine)[:, 0].astype(int)  # stored axis -> world axis
    thin = [int(w) for w, size in zip(world, shape, strict=True) if size == 1]
    if len(thin) == 1:
        return thin[0]
    sizes = dict(zip(world.tolist(), spacing(affine), strict=True))
    largest = max(sizes.values())
    if largest <= ANISOTROPY * min(sizes.values()):
        return 2
    return max(axis for axis, size in sizes.items() if size > largest * (1 - 1e-4))


def to_slices(image: MetaTensor) -> MetaTensor:
    """image [C, *S] of 3 axes with its slices last and every axis growing to R, A or S; `restore` takes it back."""
    if image.ndim != 4:
        raise ValueError(f"to_slices needs a volume [C, X, Y, Z], not shape {list(image.shape)}")
    return orient(image, SLICE_AXCODES[slice_axis(image.affine.numpy(), image.shape[1:])])


def restore(image: MetaTensor, affine: np.ndarray) -> MetaTensor:
    """image [C, *S] with the axis order and directions of a stored volume, given by the affine [4, 4] of that volume.

    Crops and other voxel sizes on the way are kept. Raises ValueError where the axes of the two are not parallel.
    """
    stored = np.asarray(affine, dtype=np.float64)
    # the map from present to stored voxel indices is a signed permutation, however oblique both are in the world
    relative = np.linalg.inv(stored) @ image.affine.numpy()
    share = np.abs(relative[:3, :3]) / np.abs(relative[:3, :3]).max(axis=0)
    if np.any((share > 1e-3).sum(axis=0) != 1) or np.any((share > 1e-3).sum(axis=1) != 1):
        raise ValueError("restore: the axes of the image are not parallel to those of the stored affine; pass its own source")
    moved = orient(_alias(image, relative), "RAS")
    moved.affine = stored @ moved.affine.numpy()
    return moved


def crop_slices(image: MetaTensor, first: int, stop: int) -> MetaTensor:
    """Slices first .. stop - 1 of image [C, *S] along its last axis, the affine's origin moved with them."""
    count = image.shape[-1]
    if not 0 <= first < stop <= count:
        raise ValueError(f"slices {first}:{stop} are not within 0:{count}")
    shift = np.eye(image.ndim)
    shift[-2, -1] = first
    return _alias(image[..., first:stop], image.affine.numpy() @ shift)


def parse_slices(text: str, count: int) -> tuple[int, int]:
    """(first, stop) of "all", "central:8", "60:70" (70 not included), "60:", ":70" or "12", for a volume of `count` slices.

    Raises InputError, naming the range of the volume, for anything else.
    """
    text = str(text).strip().lower()
    if text == "all":
        return 0, count
    extent = f"the volume has {count} slices, 0:{count}" if count > 1 else "the volume has one slice, 0"
    if match := re.fullmatch(r"central:(\d+)", text):
        wanted = min(int(match[1]), count)  # "central:8" of a smaller volume is all of it
        first, stop = (count - wanted) // 2, (count - wanted) // 2 + wanted
    elif match := re.fullmatch(r"(\d*):(\d*)", text):
        first, stop = int(match[1] or 0), int(match[2] or count)
    elif re.fullmatch(r"\d+", text):
        first, stop = int(text), int(text) + 1
    else:
        raise InputError(f"slices={text!r} is not understood: use all, central:8, 60:70 or 12; {extent}")
    if not 0 <= first < stop <= count:
        raise InputError(f"slices={text!r} is outside the volume: {extent}")
    return first, stop


def plain(x: Tensor) -> Tensor:
    """The tensor inside a MetaTensor, and any other tensor as it is."""
    return x.as_tensor() if hasattr(x, "as_tensor") else x

"""What of a head MR is head: skin, skull, brain, and the air inside."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from torch import from_numpy

from diffzoo.errors import InputError
from diffzoo.imaging.intensity import robust_scale

LEAST = 0.1  # of the 99th percentile of what is bright: noise, ghosts and cortical bone lie below
GAP_MM = 8.0  # dark places that are no wider, such as the ear canal and the nostrils, belong to the head
LEAST_ML = 200.0


def head_mask(volume: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The head, bool [X, Y, Z], in a magnitude MR [X, Y, Z] of RAS axes: its outline with all that lies within, slice by slice.

    Raises InputError for less than 200 ml of it.
    """
    values = np.nan_to_num(np.asarray(volume, dtype=np.float32)).clip(min=0)
    bright = values > LEAST * robust_scale(from_numpy(values))
    mask = largest(ndimage.binary_opening(closed(bright, GAP_MM / 2, spacing_mm)))
    mask = filled_slices(closed(filled_slices(mask), GAP_MM, spacing_mm))
    if not mask.sum() * np.prod(spacing_mm) >= 1000 * LEAST_ML:
        raise InputError(f"no head found: less than {LEAST_ML:g} ml of tissue hang together; is this an MR of a whole head?")
    return mask


def ball(mask: np.ndarray, radius_mm: float, spacing_mm: Sequence[float], grow: bool = True) -> np.ndarray:
    """A mask dilated (grow) or eroded by a ball; what lies outside the volume does not erode."""
    if not mask.any() or mask.all():
        return mask
    if grow:
        return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm
    return ndimage.distance_transform_edt(mask, sampling=spacing_mm) > radius_mm


def closed(mask: np.ndarray, radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """A mask [X, Y, Z] dilated and eroded by a ball, as if there were air around the volume."""
    pads = [int(np.ceil(radius_mm / size)) + 1 for size in spacing_mm]
    wide = np.pad(mask, [(pad, pad) for pad in pads])
    wide = ball(ball(wide, radius_mm, spacing_mm), radius_mm, spacing_mm, grow=False)
    return wide[tuple(slice(pad, -pad) for pad in pads)]


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest piece of a mask that hangs together."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask


def filled_slices(mask: np.ndarray) -> np.ndarray:
    """A mask [X, Y, Z] with the holes of each axial slice filled."""
    return np.stack([ndimage.binary_fill_holes(part) for part in np.moveaxis(mask, 2, 0)], axis=2)


def depth_mm(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Distance of each voxel of a mask [X, Y, Z] from its outside; where the volume ends along Z the mask goes on."""
    padded = np.pad(mask, ((1, 1), (1, 1), (0, 0)))
    return ndimage.distance_transform_edt(padded, sampling=spacing_mm)[1:-1, 1:-1]

"""The body in a CT, without the couch under it: a mask by threshold and shape."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from diffzoo.errors import InputError

SKIN = -400.0  # HU between air and skin
BLUR = 2.0  # mm, so that the noise of a cone beam does not make holes
COUCH = 6.0  # mm: what is thinner in the plane of a slice is no body
LEAST = 0.01  # of the voxels, that a body has at the least


def body_mask(hu: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Mask [X, Y, Z] of the body in a CT [X, Y, Z] in HU of RAS order, voxels of `sizes` mm: the largest part, filled by slices.

    Raises InputError where nothing as large as a body is found.
    """
    plane = [max(size, 1e-3) for size in sizes[:2]]
    smooth = ndimage.gaussian_filter(np.asarray(hu, np.float32), [*(BLUR / size for size in plane), 0], truncate=2.0)
    tissue = smooth > SKIN
    width = [max(1, round(COUCH / size / 2)) for size in plane]
    disc = np.hypot(*np.mgrid[-width[0] : width[0] + 1, -width[1] : width[1] + 1]) <= max(width)
    cut = ndimage.binary_opening(tissue, disc[..., None])
    labels, count = ndimage.label(cut)
    if not count:
        raise InputError("no body is found in it: nothing is denser than air")
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    body = labels == largest
    for k in range(body.shape[2]):
        body[..., k] = ndimage.binary_fill_holes(body[..., k])
    if body.mean() < LEAST:
        raise InputError(f"no body is found in it: the largest part denser than air takes {body.mean():.1%} of the image")
    return body

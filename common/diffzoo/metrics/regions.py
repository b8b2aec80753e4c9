"""The pieces of a mask: how large and where."""

import numpy as np
from scipy import ndimage

MOST = 10  # pieces that are told one by one


def volume_ml(mask: np.ndarray, affine: np.ndarray) -> float:
    """Volume of a mask [X, Y, Z] in ml, by an affine [4, 4] in mm."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(affine[:3, :3])) / 1000)


def pieces(mask: np.ndarray, affine: np.ndarray, most: int = MOST) -> list[dict]:
    """The largest connected pieces (26 neighbours) of a mask [X, Y, Z]: {"ml", "centre_mm": world R, A, S}, the largest first."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = (1 + np.argsort(-sizes, kind="stable"))[:most]
    centres = ndimage.center_of_mass(labels > 0, labels, order) if count else []
    places = [(affine[:3, :3] @ centre + affine[:3, 3]).round(1).tolist() for centre in centres]
    voxel = abs(np.linalg.det(affine[:3, :3])) / 1000
    return [{"ml": round(float(sizes[k - 1] * voxel), 3), "centre_mm": place} for k, place in zip(order, places, strict=True)]

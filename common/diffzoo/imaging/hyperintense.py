"""Bright spots of a FLAIR: a rough mask of white-matter lesions where nobody has drawn one."""

import numpy as np
from scipy import ndimage

SPREADS = 2.3  # above the median; bright cortex lies at 2
RIM = 3  # voxels at the edge of the brain, where cortex and skull are bright too


def bright_spots(flair: np.ndarray, brain: np.ndarray, spreads: float = SPREADS, rim: int = RIM) -> np.ndarray:
    """Voxels bool [H, W, D] of a FLAIR [H, W, D] brighter than the brain's median by `spreads` robust standard deviations.

    The robust standard deviation is 1.4826 times the median absolute deviation; both medians are of the brain (bool [H, W, D])
    without `rim` voxels at its edge in the slice plane, where nothing is marked either.
    """
    core = ndimage.binary_erosion(brain, np.ones((3, 3, 1)), iterations=rim) if rim else np.asarray(brain, bool)
    if not core.any():
        return np.zeros(brain.shape, bool)
    middle = np.median(flair[core])
    spread = 1.4826 * np.median(np.abs(flair[core] - middle))
    return core & (flair > middle + spreads * spread)

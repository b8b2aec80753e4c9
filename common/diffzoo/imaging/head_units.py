"""Intensities of a brain MR in units that look alike for every scanner: two landmarks of the brain's histogram, and back."""

from collections.abc import Sequence

import numpy as np

from diffzoo.errors import InputError

#         median, 75th percentile of the brain; the 99th is then about 1 (T1, FLAIR)
LEVELS = {"t1": (0.69, 0.8), "t2": (0.415, 0.5), "flair": (0.745, 0.8)}
BEND = (0.6, 1.6)  # bounds of gamma: a scan that needs more is another contrast


def units_of(brain: np.ndarray, modality: str) -> tuple[float, float, float]:
    """(scale, gamma, level) that take the median and the 75th percentile of the brain's values [n] to LEVELS.

    A value u becomes level (u / scale / level)^gamma. Raises InputError for a brain without signal.
    """
    middle, level = LEVELS[modality]
    median, upper = (float(p) for p in np.percentile(brain, [50, 75]))
    if not upper > 0:
        raise InputError("the brain has no signal: is this a head MR?")
    ratio = np.clip(median / upper, 1e-3, 0.999)
    return upper / level, float(np.clip(np.log(middle / level) / np.log(ratio), *BEND)), level


def to_model(values: np.ndarray, units: Sequence[float]) -> np.ndarray:
    """Values of the scan in the units of the model; below 0 is 0."""
    scale, gamma, level = (float(u) for u in units)
    return level * (np.clip(values, 0, None) / (scale * level)) ** gamma


def to_scan(values: np.ndarray, units: Sequence[float]) -> np.ndarray:
    """Values of the model in the units of the scan: the inverse of `to_model` from 0 on."""
    scale, gamma, level = (float(u) for u in units)
    return scale * level * (np.clip(values, 0, None) / level) ** (1 / gamma)

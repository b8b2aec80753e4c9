"""Nearest neighbours between sets of embedded images, and the statistics of copying that are read off them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu, norm

from diffzoo.errors import InputError

SAME, ALIKE = 0.01, 0.05  # quantiles of the thresholds: same-patient pairs, hold-out neighbours
FENCE = 1.5  # interquartile ranges below the lower quartile (Tukey 1977), in log distance


class Nearest(NamedTuple):
    """Of each of M queries: distance to its nearest item, whose number, and d1 / d2 with the nearest of another patient."""

    distance: np.ndarray
    index: np.ndarray
    ratio: np.ndarray


def nearest(apart: np.ndarray, groups: Sequence | None = None) -> Nearest:
    """Nearest neighbours of M queries among N items, of whose distances apart [M, N].

    groups: whose each item is, each its own by default; `ratio` (NNDR) is 1 where all items are of one person. Raises InputError
    for no items.
    """
    if apart.ndim != 2 or not apart.size:
        raise InputError(f"distances of shape {list(apart.shape)}: there is nothing to search")
    whose = np.arange(apart.shape[1]) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    index, rows = apart.argmin(1), np.arange(len(apart))
    first = apart[rows, index]
    second = np.where(whose[None] == whose[index][:, None], np.inf, apart).min(1)
    ratio = np.where(np.isfinite(second), first / np.maximum(second, 1e-12), 1.0)
    return Nearest(first, index, ratio)


def same_patient(between: Callable[[np.ndarray, np.ndarray], np.ndarray], groups: Sequence) -> np.ndarray:
    """Distances of all pairs of items of one patient, by `between` (numbers of items, numbers of items) -> [n, m]."""
    whose, distances = np.asarray(groups), [np.zeros(0)]
    for group in np.unique(whose):
        own = np.flatnonzero(whose == group)
        if len(own) > 1:
            distances.append(between(own, own)[np.triu_indices(len(own), 1)])
    return np.concatenate(distances)


def thresholds(holdout: Nearest, pairs: np.ndarray) -> dict[str, float]:
    """Under which distance to a training image, and NNDR, a sample counts as its copy: "copy" and "ratio".

    holdout: of its images in the training set; pairs: distances of images of one patient, may be empty. same_patient: the 1st
    percentile of pairs; fence: 1.5 interquartile ranges below the lower quartile of held distances in logarithms, which 0.35 %
    of a log-normal lie below; copy: the smaller of the two. ratio: the 5th percentile of held NNDR. alike: the 5th percentile of
    held distances, the 95th of similarity (Dar et al. 2024); one in 20 images of new people lies below it. InputError for
    fewer than 4 hold-out images.
    """
    if len(holdout.distance) < 4:
        raise InputError(f"{len(holdout.distance)} hold-out images are too few to tell what is near: give 4 or more")
    low, high = np.quantile(np.log(np.maximum(holdout.distance, 1e-12)), (0.25, 0.75))
    limits = {"fence": float(np.exp(low - FENCE * (high - low))), "alike": float(np.quantile(holdout.distance, ALIKE))}
    if len(pairs):
        limits["same_patient"] = float(np.quantile(pairs, SAME))
    limits["copy"] = min(limits["fence"], limits.get("same_patient", math.inf))
    limits["ratio"] = float(np.quantile(holdout.ratio, ALIKE))
    return limits


def copies(neighbours: Nearest, limits: dict[str, float]) -> np.ndarray:
    """Which queries are copies, bool [M]: near to a training image, and clearly nearer to it than to anybody else's."""
    return (neighbours.distance < limits["copy"]) & (neighbours.ratio < limits["ratio"])


def wilson(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of `hits` in `total` (Wilson 1927); (0, 1) for none in none."""
    if not 0 <= hits <= total:
        raise InputError(f"{hits} hits in {total} are no share")
    if not total:
        return 0.0, 1.0
    z, share = norm.ppf(0.5 + level / 2), hits / total
    middle, reach = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    low, high = ((middle + sign * reach) / (1 + z * z / total) for sign in (-1, 1))
    return 0.0 if not hits else float(low), 1.0 if hits == total else float(high)


def copying(samples: np.ndarray, holdout: np.ndarray) -> float:
    """Z_U of the data-copying test (Meehan et al. 2020, sec. 3): far below 0 where samples lie nearer to the training set.

    samples [M] and holdout [H]: distances to the nearest training image; Mann and Whitney's U in standard deviations, with ties
    counted half. Under -3 means copying; images of few patients make it less sure than it looks.
    """
    m, n = len(samples), len(holdout)
    if not m or not n:
        raise InputError("the copying test needs samples and hold-out images")
    u = mannwhitneyu(samples, holdout, method="asymptotic").statistic
    return float((u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12))

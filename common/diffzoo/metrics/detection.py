"""How well a voxel-wise anomaly score finds lesions: AUPRC, AUROC, Dice and false positives.

A voxel is called abnormal where its score >= the threshold. Scores are arrays of any shape, labels of the same shape hold 0 and 1
(or booleans). Ties are exact: voxels of one score cross the threshold together. What a subject does not define is NaN: everything
without a lesion voxel, AUROC without a healthy one. Raises InputError for shapes that differ, NaN scores or other labels.
"""

import numpy as np

from diffzoo.errors import InputError


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """AUPRC by steps, sum_n (R_n - R_(n-1)) P_n over falling thresholds, as scikit-learn's; 1 where all is lesion."""
    _, hits, false, total = _at_lesion_scores(scores, labels)
    if not total:
        return float("nan")
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained / total * (hits / (hits + false))))


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a lesion voxel scores above a healthy one, a tie counted as half (Mann-Whitney U / n m)."""
    lesion, healthy = _split(scores, labels)
    if not (lesion.size and healthy.size):
        return float("nan")
    lesion.sort()
    healthy.sort()
    below = np.searchsorted(healthy, lesion, "left").sum(dtype=np.int64)
    upto = np.searchsorted(healthy, lesion, "right").sum(dtype=np.int64)
    return float((int(below) + int(upto)) / (2 * lesion.size * healthy.size))


def best_dice(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The largest Dice over all thresholds, and the (largest) threshold that gives it."""
    thresholds, hits, false, total = _at_lesion_scores(scores, labels)
    if not total:
        return float("nan"), float("nan")
    dice = 2 * hits / (hits + false + total)
    best = int(np.argmax(dice))
    return float(dice[best]), float(thresholds[best])


def dice_at(scores: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    """Dice 2 |A and B| / (|A| + |B|) of the lesion and the voxels of score >= threshold."""
    lesion, healthy = _split(scores, labels)
    if not lesion.size:
        return float("nan")
    hits, false = (int(np.count_nonzero(part >= threshold)) for part in (lesion, healthy))
    return 2 * hits / (hits + false + lesion.size)


def false_positive_rate(scores_healthy: np.ndarray, threshold: float) -> float:
    """Share of healthy voxels of score >= threshold; InputError where there is no voxel."""
    return float(np.count_nonzero(_healthy(scores_healthy) >= threshold) / np.size(scores_healthy))


def threshold_at_fpr(scores_healthy: np.ndarray, fpr: float) -> float:
    """The smallest threshold, in the precision of the scores, at which at most a share `fpr` of healthy voxels is abnormal.

    With ties the rate reached may be below `fpr`. Raises InputError for an fpr outside [0, 1] or no voxel.
    """
    if not 0 <= fpr <= 1:
        raise InputError(f"a false-positive rate lies in [0, 1], not {fpr}")
    values = _healthy(scores_healthy)
    allowed = int(np.floor(fpr * values.size + 1e-9))
    if allowed == values.size:
        return float(values.min())
    kept_out = values.size - 1 - allowed  # in rising order, the largest score that must stay below the threshold
    return float(np.nextafter(np.partition(values, kept_out)[kept_out], values.dtype.type(np.inf)))


def _at_lesion_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Falling thresholds, lesion and healthy voxels found at each, and all lesion voxels.

    Only scores of lesion voxels are thresholds: recall changes nowhere else, and between them a lower threshold only adds false
    positives, so AUPRC and the best Dice need no others.
    """
    lesion, healthy = _split(scores, labels)
    thresholds, counts = np.unique(lesion, return_counts=True)
    healthy.sort()
    false = healthy.size - np.searchsorted(healthy, thresholds, "left")
    return thresholds[::-1], np.cumsum(counts[::-1]), false[::-1], lesion.size


def _split(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of lesion and of healthy voxels, as new arrays."""
    scores, labels = _floats(scores), np.asarray(labels)
    if scores.shape != labels.shape:
        raise InputError(
            f"scores {list(scores.shape)} and labels {list(labels.shape)} differ in shape; resample one to the other"
        )
    lesion = labels.astype(bool)
    if labels.dtype != bool and not np.array_equal(labels, lesion):
        raise InputError("labels hold 0 (healthy) and 1 (lesion) only; compare with a number first")
    return scores[lesion], scores[~lesion]


def _healthy(scores: np.ndarray) -> np.ndarray:
    values = _floats(scores).ravel()
    if not values.size:
        raise InputError("there is no healthy voxel to count false positives on")
    return values


def _floats(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores)
    scores = scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(np.float64)
    if np.isnan(scores).any():
        raise InputError("scores must not be NaN; give voxels outside the brain a low score or leave them out")
    return scores

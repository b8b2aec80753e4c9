"""How well a set of sampled masks fits a set of readers' masks: GED, and the collective insight of Rahman et al. 2023.

Masks are bool [N, *S], one set of N a case. d(a, b) = 1 - IoU(a, b), and 0 where both are empty; Dice is 1 there.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def figures(masks: Tensor, readers: Tensor) -> dict[str, float]:
    """All figures of a case: ci, ged, the three parts of ci, mean Dice of the majority of `masks` with the readers, and spread.

    masks [N, *S] and readers [M, *S], bool. "spread": mean distance of two masks, 0 where all are alike.
    """
    parts = {
        "sensitivity": combined_sensitivity(masks, readers),
        "dice_max": maximum_dice(masks, readers),
        "agreement": diversity_agreement(masks, readers),
    }
    vote = dice(majority(masks)[None], readers).mean()
    spread = float(distance(masks, masks).mean())
    return {"ci": collective_insight(*parts.values()), "ged": ged(masks, readers), **parts, "dice": float(vote), "spread": spread}


def ged(masks: Tensor, readers: Tensor) -> float:
    """Squared generalised energy distance 2 E d(p, y) - E d(p, p') - E d(y, y'), in [0, 2]; lower is better.

    Expectations are over all ordered pairs, a mask with itself among them (Kohl et al. 2018, sec. 4.1, as usually computed), so
    n equal masks have no diversity, and equal sets a distance of 0.
    """
    within = distance(masks, masks).mean() + distance(readers, readers).mean()
    return float(2 * distance(masks, readers).mean() - within)


def collective_insight(sensitivity: float, dice_max: float, agreement: float) -> float:
    """3 S D A / (S + D + A) of the three parts, in [0, 1]; higher is better. 0 where all are 0.

    The form of Rahman et al. 2023, which is no harmonic mean: where all parts are x, it gives x^2.
    """
    total = sensitivity + dice_max + agreement
    return 3 * sensitivity * dice_max * agreement / total if total > 0 else 0.0


def combined_sensitivity(masks: Tensor, readers: Tensor) -> float:
    """Share of the readers' union that the union of masks holds; where no reader marked anything, 1 if no mask does, else 0."""
    found, wanted = masks.any(0), readers.any(0)
    if not wanted.any():
        return float(not found.any())
    return float((found & wanted).sum() / wanted.sum())


def maximum_dice(masks: Tensor, readers: Tensor) -> float:
    """Mean over readers of the Dice of the mask that fits them best."""
    return float(dice(masks, readers).amax(0).mean())


def diversity_agreement(masks: Tensor, readers: Tensor) -> float:
    """1 - (|least variance of masks - of readers| + |greatest - greatest|) / 2, in [0, 1].

    The variance of a pair is that of its two values of 0 and 1 in a pixel, in units of the greatest there can be, averaged over
    the union of all masks and readers: the share of those pixels where the two differ. Over a whole image it would always be near
    0. Pairs are of two members of a set; a set of one has a variance of 0. We do not know the constants of Rahman et al. 2023.
    """
    region = masks.any(0) | readers.any(0)
    if not region.any():
        return 1.0
    (low, high), (least, most) = (pair_variances(s.flatten(1)[:, region.flatten()]) for s in (masks, readers))
    return 1 - (abs(low - least) + abs(high - most)) / 2


def pair_variances(values: Tensor) -> tuple[float, float]:
    """Least and greatest variance over the pairs of a set [N, P] of 0 and 1, in units of the greatest there can be."""
    if len(values) < 2:
        return 0.0, 0.0
    differ = (values[:, None] != values[None]).float().mean(-1)
    first, second = torch.triu_indices(len(values), len(values), 1)
    pairs = differ[first, second]
    return float(pairs.min()), float(pairs.max())


def frequency_distance(masks: Tensor, modes: Tensor, frequencies: Sequence[float]) -> tuple[float, Tensor]:
    """Total-variation distance, in [0, 1], of how often masks are nearest to each mode from how often they should be.

    modes [K, *S]: the outlines that readers draw, their frequencies summing to 1. Of modes at equal distance the first counts.
    Also gives how often each mode was met, [K].
    """
    nearest = distance(masks, modes).argmin(1)
    met = torch.bincount(nearest, minlength=len(modes)).double() / len(masks)
    return float((met - torch.tensor(frequencies, dtype=torch.float64)).abs().sum() / 2), met


def majority(masks: Tensor) -> Tensor:
    """Pixels that more than half of the masks [N, *S] hold."""
    return masks.double().mean(0) > 0.5


def distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - IoU of each pair, [N, M]; 0 where both are empty."""
    shared, sizes = overlaps(first, second)
    union = sizes - shared
    return torch.where(union > 0, 1 - shared / union.clamp(min=1), torch.zeros_like(shared))


def dice(first: Tensor, second: Tensor) -> Tensor:
    """Dice of each pair, [N, M]; 1 where both are empty."""
    shared, sizes = overlaps(first, second)
    return torch.where(sizes > 0, 2 * shared / sizes.clamp(min=1), torch.ones_like(shared))


def overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Shared pixels and sum of sizes of each pair of bool masks [N, *S] and [M, *S], both [N, M]."""
    a, b = first.flatten(1).double(), second.flatten(1).double()
    return a @ b.T, a.sum(1)[:, None] + b.sum(1)

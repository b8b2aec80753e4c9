"""Patches as a further part of the noise: what is larger than a voxel and does not belong into an image."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def blobs(
    like: Tensor,
    generator: torch.Generator,
    strength: Sequence[float] = (0.5, 3.0),
    knots: Sequence[int] = (5, 14),
    edge: float = 1.0,
) -> Tensor:
    """Bright and dark patches of the shape of `like` [B, C, *S], to be added to white noise, each item of its own strength.

    Patches are where a smooth random field, of `knots` (from, to) supports an axis and standard deviation about 1, is beyond
    `edge`; within they are +1 or -1 times the strength, with soft sides. A denoiser that meets them has to know what belongs into
    an image, as with the coarse noise of Kascenas et al. (2022) or simplex noise: white noise alone hides nothing that is large.
    Raises ValueError for ranges that fall.
    """
    if not (0 <= strength[0] <= strength[1] and 2 <= knots[0] <= knots[1]):
        raise ValueError(f"strength and knots are rising ranges from 0 and 2 up, not {strength} and {knots}")
    size, level = like.shape[2:], torch.rand((len(like), *[1] * (like.ndim - 1)), generator=generator)
    count = int(torch.randint(knots[0], knots[1] + 1, (1,), generator=generator))
    field = torch.randn((*like.shape[:2], *[count] * len(size)), generator=generator)
    field = F.interpolate(field, size, mode="bicubic" if len(size) == 2 else "trilinear", align_corners=True)
    patches = field.sign() * (4 * (field.abs() - edge)).clamp(0, 1)
    return (strength[0] + (strength[1] - strength[0]) * level) * patches

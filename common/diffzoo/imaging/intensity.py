"""Intensity scaling that a stranger's scan gets in the same way as the training data."""

import math

import torch
from torch import Tensor

from diffzoo.errors import InputError


def robust_scale(magnitude: Tensor) -> float:
    """The 99th percentile of the foreground of a magnitude image (any shape), so that division by it gives about [0, 1].

    Foreground is above a tenth of the 99.9th percentile: the share of air in the field of view then does not matter.
    Raises InputError when the image is empty of signal, and for values that are not finite.
    """
    values = magnitude.detach().flatten().float()
    if len(values) > 2_000_000:  # a regular subset: the percentile of millions of voxels needs no more
        values = values[:: len(values) // 1_000_000]
    top = _quantile(values, 0.999)
    if not top > 0:
        top = float(values.max())
    if not top > 0:
        raise InputError("the image holds no signal: all values are zero or negative")
    if not math.isfinite(top):
        raise InputError("the values of the image are too large to compute with: divide them by a constant, and save them again")
    return _quantile(values[values > 0.1 * top], 0.99)


def _quantile(values: Tensor, q: float) -> float:
    """Plain order statistic; torch.quantile refuses more than 16 million values."""
    return float(torch.kthvalue(values, max(1, round(q * len(values)))).values)

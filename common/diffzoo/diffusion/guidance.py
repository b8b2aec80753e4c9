"""Guidance: functions from denoiser to denoiser that steer or bound the estimate."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .denoiser import Denoise, expand_as

Interval = tuple[float, float]  # levels low <= sigma <= high at which guidance acts


def cfg(cond: Denoise, uncond: Denoise, scale: float, interval: Interval = (0.0, math.inf)) -> Denoise:
    """Classifier-free guidance u + scale (c - u) (Ho & Salimans 2022, eq. 6 with scale = 1 + w), `cond` alone elsewhere.

    `interval` limits it to some levels (Kynkaanniemi et al. 2024); beyond them, and at scale 1, `uncond` is not called.
    """

    def guided(x: Tensor, sigma: float) -> Tensor:
        estimate = cond(x, sigma)
        if scale == 1 or not interval[0] <= sigma <= interval[1]:
            return estimate
        base = uncond(x, sigma)
        return base + scale * (estimate - base)

    return guided


def classifier(
    denoise: Denoise,
    log_prob: Callable[[Tensor, float], Tensor],
    scale: float = 1.0,
    interval: Interval = (0.0, math.inf),
) -> Denoise:
    """Classifier guidance x0 + scale sigma^2 grad_x log p(c | x) (Dhariwal & Nichol 2021, sec. 4).

    log_prob(x [B, C, *S], sigma) -> log p(c | x) [B] of the noisy state, differentiable in x.
    """

    def guided(x: Tensor, sigma: float) -> Tensor:
        estimate = denoise(x, sigma)
        if not interval[0] <= sigma <= interval[1]:
            return estimate
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(log_prob(leaf, sigma).sum(), leaf)
        return estimate + scale * sigma**2 * slope

    return guided


def clamp(denoise: Denoise, low: float, high: float) -> Denoise:
    """Bounds the estimate to the model's data range [low, high]; samplers then take the noise from the bounded estimate."""
    if not low < high:
        raise ValueError(f"clamp needs low < high, not {low} and {high}")
    return lambda x, sigma: denoise(x, sigma).clamp(low, high)


def dynamic_threshold(denoise: Denoise, quantile: float = 0.995, high: float = 1.0) -> Denoise:
    """Bounds each item to its own quantile of |x0|, at least `high`, and rescales it to [-high, high] (Saharia et al. 2022)."""
    if not 0 < quantile <= 1 or high <= 0:
        raise ValueError(f"needs 0 < quantile <= 1 and high > 0, not {quantile} and {high}")

    def bounded(x: Tensor, sigma: float) -> Tensor:
        x0 = denoise(x, sigma)
        sizes = x0.abs().flatten(1)
        rank = math.ceil(quantile * sizes.shape[1])
        bound = expand_as(sizes.kthvalue(rank, dim=1).values.clamp(min=high), x0)
        return torch.maximum(torch.minimum(x0, bound), -bound) * (high / bound)

    return bounded

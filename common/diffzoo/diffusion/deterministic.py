"""Samplers of the probability-flow ODE dx / d sigma = (x - D(x, sigma)) / sigma, their inversion, and plug-and-play."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .denoiser import Denoise
from .march import Callback, Project, check_grid, march
from .noise import NoiseSource, require


def euler(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Euler steps, which are DDIM with eta = 0 (Song et al. 2021, eq. 12); order 1, one call a step."""

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        x0 = denoise(x, s)
        return _euler(x, x0, s, t), x0

    return march(step, x, sigmas, noise, project, callback)


def _euler(x: Tensor, x0: Tensor, s: float, t: float) -> Tensor:
    return x0 + (t / s) * (x - x0)


def posterior_mean(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """The ancestral step without its noise, x0 + (t / s)^2 (x - x0): the mean of x_t given x_s and x0 (Ho et al. 2020, eq. 7).

    It is no ODE of the prior: a walk on a fine grid ends nearer to the mean than a sample would. A denoiser that starts from the
    data as a state takes it so (Hu, Tao & Oguz 2022).
    """

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        x0 = denoise(x, s)
        return x0 + (t / s) ** 2 * (x - x0), x0

    return march(step, x, sigmas, noise, project, callback)


def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = math.inf,
    noise_scale: float = 1.0,
) -> Tensor:
    """Heun steps with optional churn (Karras et al. 2022, Alg. 2); order 2, two calls a step and one for the step to 0.

    With churn > 0 each step from a level in [churn_min, churn_max] first raises it by min(churn / steps, sqrt(2) - 1) with
    noise of standard deviation noise_scale, and a noise source is needed.
    """
    gamma = min(churn / max(len(sigmas) - 1, 1), math.sqrt(2) - 1)
    if churn < 0:
        raise ValueError(f"churn must not be negative, not {churn}")

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        if gamma > 0 and churn_min <= s <= churn_max:
            raised = s * (1 + gamma)
            x = x + noise_scale * math.sqrt(raised**2 - s**2) * require(noise)(x)
            s = raised
        x0 = denoise(x, s)
        trial = _euler(x, x0, s, t)
        if t == 0:
            return trial, x0
        slope = (x - x0) / s + (trial - denoise(trial, t)) / t
        return x + (t - s) * slope / 2, x0

    return march(step, x, sigmas, noise, project, callback)


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, Alg. 2); order 2 with eta = 0 (the ODE), one call a step.

    eta > 0 solves dx = (1 + eta) (x - D) / sigma d sigma + sqrt(2 eta sigma) dw, eta = 1 being SDE-DPM-Solver++(2M) (eq. 18
    of the same paper), and needs a noise source. The first step, the step to 0 and the step after a rise are of first order.
    """
    if eta < 0:
        raise ValueError(f"eta must not be negative, not {eta}")
    last: tuple[float, float, Tensor] | None = None  # level, level reached and estimate of the step before

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        nonlocal last
        x0 = denoise(x, s)
        if t == 0:
            return x0, x0
        h, ahead = math.log(s / t), x0
        if last is not None and last[1] == s:
            ahead = x0 + (x0 - last[2]) * h / (2 * math.log(last[0] / s))
        last = (s, t, x0)
        x = (t / s) ** (1 + eta) * x - math.expm1(-(1 + eta) * h) * ahead
        if eta:
            x = x + t * math.sqrt(-math.expm1(-2 * eta * h)) * require(noise)(x)
        return x, x0

    return march(step, x, sigmas, noise, project, callback)


def unipc(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    variant: str = "bh2",
) -> Tensor:
    """UniPC-2 with data prediction (Zhao et al. 2023, Alg. 1-2); order 3 with its corrector, one call a step.

    `variant` is the paper's B(h): "bh1" = h, "bh2" = e^h - 1. The estimate that corrects a state also predicts the next one. The
    correction is added to the state as it stands, so a projection is kept.
    """
    if variant not in ("bh1", "bh2"):
        raise ValueError(f"variant must be 'bh1' or 'bh2', not {variant!r}")
    last: tuple[float, float, Tensor, Tensor | None, float] | None = None  # s, t, estimate, its slope D1, r

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        nonlocal last
        x0, slope, r = denoise(x, s), None, 0.0
        if t == 0:
            return x0, x0
        h = math.log(s / t)
        if last is not None and last[1] == s:
            h_before = math.log(last[0] / s)
            x = x + _correction(x0 - last[2], last[3], last[4], h_before, variant)
            r = -h_before / h
            slope = (last[2] - x0) / r
        last = (s, t, x0, slope, r)
        x = (t / s) * x - math.expm1(-h) * x0
        if slope is not None:
            x = x - _b(h, variant) / 2 * slope
        return x, x0

    return march(step, x, sigmas, noise, project, callback)


def _b(h: float, variant: str) -> float:
    return -h if variant == "bh1" else math.expm1(-h)


def _correction(change: Tensor, slope: Tensor | None, r: float, h: float, variant: str) -> Tensor:
    """UniC minus UniP of a step h: `change` is the new estimate less the old; `slope` and r are of the step before, if any."""
    b = _b(h, variant)
    if slope is None:
        return -b / 2 * change
    phi = -math.expm1(-h) / h - 1
    first, second = phi / b, (-2 * phi / h - 1) / b
    rho = (first - second) / (1 - r)
    return -b * ((rho - 0.5) * slope + (first - rho) * change)


@torch.no_grad()
def plug_and_play(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    momentum: float = 0.0,
) -> Tensor:
    """x <- denoise(x, sigma) at each positive level, with no noise put back (DPIR, Zhang et al. 2021, eq. 6).

    With the denoiser wrapped by a data rule (`posterior`) the next input is the data-consistent estimate: a deterministic
    half-quadratic splitting that aims at one good image, not at a sample. `momentum` in [0, 1) carries a share of the last change
    on into the next input (accelerated plug-and-play, Kamilov et al. 2017, with a fixed share); linear data stay kept. `noise` is
    not used; rising pairs add none.
    """
    check_grid(sigmas)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), not {momentum}")
    estimate = None
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        before, estimate = estimate, denoise(x, sigma)
        last = i == len(sigmas) - 2
        x = estimate if before is None or last else estimate + momentum * (estimate - before)
        if project is not None:
            x = project(x, target)
        if callback is not None:
            callback(i, target, x, estimate)
    return x


@torch.no_grad()
def invert(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    corrections: int = 0,
) -> Tensor:
    """DDIM inversion of an image x [B, C, *S] up a rising grid from 0 (or above): the state from which `euler` returns it.

    `corrections` = 0 is the usual inversion of order 1. Each correction costs a call a step and is one relaxed fixed-point step
    on euler(x_t) = x_s, so that `euler` down the reversed grid returns the input as closely as wished; it contracts by
    (1 - s / t) / (1 + s / t) or better while the denoiser's slope lies in [0, 1]. `noise` is not used.
    """
    if any(s > t for s, t in pairwise(sigmas)) or corrections < 0:
        raise ValueError("inversion takes a rising grid (reverse the sampler's grid) and corrections >= 0")
    check_grid(sigmas[::-1])
    for i, (s, t) in enumerate(pairwise(sigmas)):
        start, level = x, s or t  # a denoiser has no level 0
        x0 = denoise(x, level)
        x = start + (t - s) * (start - x0) / level
        for _ in range(corrections):
            x0 = denoise(x, t)
            x = x + (2 * t / (t + s) if s else 1.0) * (start - _euler(x, x0, t, s))
        if project is not None:
            x = project(x, t)
        if callback is not None:
            callback(i, t, x, x0)
    return x

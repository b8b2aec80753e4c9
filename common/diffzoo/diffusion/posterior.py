"""Posterior rules: functions from denoiser to denoiser (and one projection) that make an estimate agree with y = A x0 + noise.

A rule acts on the estimate; how much noise a step puts back belongs to the sampler. The published methods are pairs:
DDNM = `ddnm` in `renoise(fresh=eta^2)` on a `time_travel` grid; DiffPIR = `diffpir` in `renoise(fresh=zeta)`; DDS = `dds` in
`ancestral(eta)`; DPS = `dps` in `ancestral()`; CSGM-MRI = `csgm` in `annealed_langevin`; Score-MRI = `pocs` as `project` of
`predictor_corrector`; a plain image estimate = any rule in `plug_and_play`. Every weight is taken for each item of the batch.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from .choices import choice
from .denoiser import Denoise, expand_as
from .march import Project
from .noise import NoiseSource


class Operator(Protocol):
    """A linear map of images x [B, C, *S] to measurements y [B, *M]."""

    def A(self, x: Tensor) -> Tensor:
        """The forward model."""

    def AT(self, y: Tensor) -> Tensor:
        """The exact adjoint."""

    def pinv(self, y: Tensor) -> Tensor:
        """The pseudo-inverse."""

    def solve(self, b: Tensor, lam: float) -> Tensor:
        """(A^T A + lam I)^-1 b."""


def _norm(values: Tensor, like: Tensor) -> Tensor:
    """The norm of each item as [B, 1, ..., 1] beside `like`; a complex entry counts both its parts."""
    return expand_as(values.flatten(1).norm(dim=1), like)


def ddnm(denoise: Denoise, op: Operator, y: Tensor, noise_sd: float = 0.0) -> Denoise:
    """Replacement on the estimate: x0 + w A^+ (y - A x0), the range-null decomposition (Wang et al. 2023, eq. 12-13).

    w = 1 without noise: hard replacement. With noise_sd > 0, w = min(1, sigma / noise_sd), which is DDNM+ (eq. 17) for singular
    values 1 and eta = 0 with the level that the step leaves; DDNM+ weighs each singular value d by its own min(1, sigma d /
    noise_sd) and takes the measurement's noise off the noise put back, which needs the SVD and a sampler that knows it.
    """
    if noise_sd < 0:
        raise ValueError(f"ddnm needs noise_sd >= 0, not {noise_sd}")

    def rule(x: Tensor, sigma: float) -> Tensor:
        x0 = denoise(x, sigma)
        weight = min(1.0, sigma / noise_sd) if noise_sd > 0 else 1.0
        return x0 + weight * op.pinv(y - op.A(x0))

    return rule


def dds(denoise: Denoise, op: Operator, y: Tensor, lam: float = 0.0, steps: int = 5) -> Denoise:
    """A few conjugate-gradient steps from x0 on (A^T A + lam I) x = A^T y + lam x0 (Chung, Lee & Ye 2024, Alg. 1).

    lam = 0 fits the data within a Krylov space around x0; enough steps with lam > 0 give the proximal point.
    """
    if lam < 0 or steps < 1:
        raise ValueError(f"dds needs lam >= 0 and steps >= 1, not {lam} and {steps}")

    def rule(x: Tensor, sigma: float) -> Tensor:
        x0 = denoise(x, sigma)
        return x0 + _cg(lambda v: op.AT(op.A(v)) + lam * v, op.AT(y - op.A(x0)), steps)

    return rule


def _cg(matrix: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """Conjugate gradients from 0, each item with its own step lengths; an item that has converged stays put."""
    x, residual, direction = torch.zeros_like(b), b, b
    power = _norm(b, b) ** 2
    floor = torch.finfo(b.dtype).eps ** 2 * power + torch.finfo(b.dtype).tiny
    for _ in range(steps):
        image = matrix(direction)
        curve = expand_as((direction * image).flatten(1).sum(1), b)
        length = torch.where(power > floor, power / curve.clamp(min=torch.finfo(b.dtype).tiny), 0.0)
        x, residual = x + length * direction, residual - length * image
        fresh = _norm(residual, b) ** 2
        direction = residual + torch.where(power > floor, fresh / power.clamp(min=torch.finfo(b.dtype).tiny), 0.0) * direction
        power = fresh
    return x


def diffpir(denoise: Denoise, op: Operator, y: Tensor, noise_sd: float, lam: float = 1.0) -> Denoise:
    """The proximal point argmin |y - A x|^2 + rho |x - x0|^2, rho = lam noise_sd^2 / sigma^2 (Zhu et al. 2023, eq. 13, Alg. 1).

    It is the posterior mean for a prior N(x0, sigma^2 / lam). Raises ValueError for noise_sd <= 0: use `ddnm`, its limit, there.
    """
    if noise_sd <= 0 or lam <= 0:
        raise ValueError("diffpir needs noise_sd > 0 and lam > 0; for data without noise use ddnm, its limit")

    def rule(x: Tensor, sigma: float) -> Tensor:
        rho = lam * (noise_sd / sigma) ** 2
        x0 = denoise(x, sigma)
        return x0 + op.solve(op.AT(y - op.A(x0)), rho)

    return rule


def _residual_slope(denoise: Denoise, op: Operator, y: Tensor, x: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """The estimate, |y - A x0|^2 / 2 of each item [B, 1, ..., 1], and its gradient by x through the denoiser."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        x0 = denoise(leaf, sigma)
        half = (y - op.A(x0)).abs().pow(2).flatten(1).sum(1) / 2
        (slope,) = torch.autograd.grad(half.sum(), leaf)
    return x0.detach(), expand_as(half.detach(), x), slope


def dps(denoise: Denoise, op: Operator, y: Tensor, sigmas: Sequence[float], scale: float = 1.0) -> Denoise:
    """Diffusion posterior sampling as published: `ancestral` steps less scale grad |y - A x0(x)| (Chung et al. 2023, Alg. 1).

    The norm is not squared, and is each item's own. `sigmas` is the sampler's grid: the published step length is per step and in
    VP coordinates, so the rule shifts x0 by what an ancestral step s -> t (eta = 1) turns into exactly that. Good means, but the
    spread is set by `scale` and not calibrated. Raises ValueError at a level that is not on the grid.
    """
    after = {s: t for s, t in pairwise(sigmas) if t < s}

    def rule(x: Tensor, sigma: float) -> Tensor:
        if sigma not in after:
            raise ValueError(f"dps was built for another grid: it has no step from sigma = {sigma}")
        x0, half, slope = _residual_slope(denoise, op, y, x, sigma)
        t = after[sigma]
        length = scale * ((1 + sigma**2) * (1 + t**2)) ** 0.5 / (1 - (t / sigma) ** 2)
        return x0 - length * slope / (2 * half).sqrt().clamp(min=torch.finfo(x.dtype).tiny)

    return rule


def dps_likelihood(
    denoise: Denoise, op: Operator, y: Tensor, noise_sd: float, data_sd: float = 0.0, scale: float = 1.0
) -> Denoise:
    """x0 + scale sigma^2 grad_x log N(y; A x0(x), noise_sd^2 + v), v = 1 / (1 / data_sd^2 + 1 / sigma^2).

    data_sd = 0 is the DPS approximation of the likelihood (Chung et al. 2023, eq. 10), which is stiff: sigma must stay near
    noise_sd or the grid be fine. data_sd > 0 adds the spread of x0 given x (as Song et al. 2023, PiGDM, eq. 8): exact for data of
    covariance data_sd^2 I and an operator with orthonormal rows, and stable.
    """
    if noise_sd < 0 or data_sd < 0 or noise_sd + data_sd == 0:
        raise ValueError(f"dps_likelihood needs noise_sd, data_sd >= 0 and not both 0; got {noise_sd} and {data_sd}")

    def rule(x: Tensor, sigma: float) -> Tensor:
        spread = (data_sd * sigma) ** 2 / (data_sd**2 + sigma**2)
        x0, _, slope = _residual_slope(denoise, op, y, x, sigma)
        return x0 - scale * sigma**2 / (noise_sd**2 + spread) * slope

    return rule


def csgm(denoise: Denoise, op: Operator, y: Tensor, noise_sd: float, match: float | None = None) -> Denoise:
    """x0 + sigma^2 A^T (y - A x) / (sigma^2 + noise_sd^2): the likelihood of the noisy state (Jalal et al. 2021, eq. 4).

    It needs no gradient, and suits `annealed_langevin`. With `match` the term is rescaled, item by item, to `match` times the
    norm of the prior's, x0 - x (the released code's form); noise_sd then plays no part.
    """

    def rule(x: Tensor, sigma: float) -> Tensor:
        x0 = denoise(x, sigma)
        pull = op.AT(y - op.A(x))
        if match is None:
            return x0 + sigma**2 / (sigma**2 + noise_sd**2) * pull
        return x0 + match * _norm(x0 - x, x) / _norm(pull, x).clamp(min=torch.finfo(x.dtype).tiny) * pull

    return rule


def pocs(op: Operator, y: Tensor, lam: float = 1.0, noise: NoiseSource | None = None) -> Project:
    """The projection x + lam A^+ (y - A x) of a state onto the data, for `project` of a sampler (Chung & Ye 2022, eq. 12).

    lam = 1 is hard replacement, with clean y at every level. With `noise` the state meets y + sigma A n instead (RePaint,
    Lugmayr et al. 2022, Alg. 1; Song et al. 2022), and clean y at the end. lam in (0, 1]; raises ValueError otherwise.
    """
    if not 0 < lam <= 1:
        raise ValueError(f"pocs needs 0 < lam <= 1, not {lam}")

    def project(x: Tensor, sigma: float) -> Tensor:
        target = y if noise is None or sigma == 0 else y + sigma * op.A(noise(x))
        return x + lam * op.pinv(target - op.A(x))

    return project


def proximal(op: Operator, y: Tensor, lam: float = 1.0, vp: bool = False) -> Project:
    """The proximal step argmin |y - A v|^2 + lam |v - x|^2 on a state, with clean y at every level (Liu et al. 2023, DOLCE).

    It is for `project` of `ancestral`; lam is relative to |A|^2 where A has norm 1. With `vp` the state is scaled to the paper's
    coordinate x / sqrt(1 + sigma^2) for the step, in which clean y is too bright at high noise; without it the step is unbiased.
    Raises ValueError unless lam > 0.
    """
    if not lam > 0:
        raise ValueError(f"proximal needs lam > 0, not {lam}")

    def project(x: Tensor, sigma: float) -> Tensor:
        scale = (1 + sigma**2) ** -0.5 if vp else 1.0
        v = scale * x
        return (v + op.solve(op.AT(y - op.A(v)), lam)) / scale

    return project


RULES = {"ddnm": ddnm, "dds": dds, "diffpir": diffpir, "dps": dps, "csgm": csgm}
CONSTRAINTS = {"pocs": pocs, "proximal": proximal}


def named(name: str, **options) -> Callable[..., Denoise] | None:
    """The rule of that name with its own options set, others left out; None for "none" and for the name of a constraint.

    An option named as a rule holds what is set for that rule alone: named(name, noise_sd=0.1, dds={"lam": 0.01}). Raises
    ValueError for a name that is not known.
    """
    return _named(name, RULES, options)


def named_constraint(name: str, **options) -> Callable[..., Project] | None:
    """The same for what acts on the state after each step; None for the name of a rule."""
    return _named(name, CONSTRAINTS, options)


def _named(name: str, among: dict, options: dict) -> Callable | None:
    choice("rule", name, RULES | CONSTRAINTS | {"none": None})
    if name not in among:
        return None
    own = inspect.signature(among[name]).parameters
    given = {key: value for key, value in options.items() if key not in RULES | CONSTRAINTS} | options.get(name, {})
    return partial(among[name], **{key: value for key, value in given.items() if key in own})

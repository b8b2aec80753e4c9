"""A noisy and coarse magnitude image as an inverse problem: where its k-space is known, it is known with white noise."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.march import Callback, Project
from diffzoo.diffusion.noise import Gaussian
from diffzoo.imaging.geometry import plain
from diffzoo.imaging.noise_level import rician_mean, rician_signal
from diffzoo.operators.base import LinearOperator
from diffzoo.operators.fourier import RealMaskedFourier, fft, ifft, uncentre
from diffzoo.spaces import averaged as mean_of_turns
from diffzoo.tasks.reconstruction.inferer import Posed
from diffzoo.tasks.reconstruction.solver import Rule, Solver

KINDS = ("rician", "gaussian")
Grid = Callable[[Sequence[float], float], list[float]]  # (a solver's levels, noise) -> the levels that are walked
LOWEST = 1e-3  # noise level of an image that has none


class Restoration:
    """Poses noisy slices [D, 1, H, W] with data "noise_sd" [1] in their unit, and "box" [1, 1, H, W], 1 where k-space is known.

    `grid` fits the levels of a solver to the noise times `strength`: by `in_units` of it, so that a grid from 1 begins with the
    noisy image as the state that it is (Chung, Lee & Ye 2023, sec. 3), `ending_at` it, or `entered_at` it. Of noise of the kind
    "rician" the mean that it adds is taken off first, as one call of the denoiser tells it. Raises ValueError for a strength
    that is not positive, and for another kind.
    """

    conditions = ("noise_sd", "box")  # items of a case that it takes beside the image

    def __init__(self, strength: float = 1.0, kind: str = "rician", grid: Grid | None = None) -> None:
        if kind not in KINDS:
            raise ValueError(f"noise is {' or '.join(KINDS)}, not {kind!r}")
        if not strength > 0:
            raise ValueError(f"strength must be positive, not {strength}")
        self.strength, self.grid, self.rician = strength, grid or in_units, kind == "rician"

    def memory(self, shape: Sequence[int]) -> float:
        """Nothing to speak of: a mask."""
        return 0.0

    def __call__(self, denoiser: Denoiser, image: Tensor, rows: Sequence[int], data: Mapping[str, Tensor]) -> Posed:
        box, sd = uncentre(plain(data["box"])).to(image.device), max(float(data["noise_sd"]), LOWEST)
        op = RealMaskedFourier(box)
        denoise, noisy = denoiser.bind(), image[rows]
        y = op.A(without_bias(noisy, denoise(noisy, sd), sd) if self.rician else noisy)
        unit = sd * self.strength
        in_data = sd / float(box.mean()) ** 0.5  # of a coefficient of k-space on the finer grid

        def solve(solver: Solver, seeds: Sequence[int], callback: Callback | None) -> Tensor:
            fitted = replace(solver, sigmas=self.grid(solver.sigmas, unit), rule=_told(solver.rule, in_data))
            return fitted(denoise, op, y, Gaussian(seeds), callback)

        return Posed(y, op.A, solve, lambda x: x.clamp(min=0) if self.rician else x)


def without_bias(noisy: Tensor, mean: Tensor, noise_sd: float) -> Tensor:
    """Magnitudes less what Rician noise adds to their mean, of which there is an estimate: their noise then has a mean of 0."""
    signal = rician_signal(mean, noise_sd)
    return noisy - (rician_mean(signal, noise_sd) - signal)


def symmetric(averaged: bool = True) -> Rule | None:
    """The rule of a solver whose denoiser is the mean over flips and transposes (`spaces.averaged`); None for none."""
    return (lambda denoise, op, y: mean_of_turns(denoise)) if averaged else None


def in_units(sigmas: Sequence[float], unit: float) -> list[float]:
    """A grid whose levels are multiples of `unit`."""
    return [unit * sigma for sigma in sigmas]


def entered_at(sigmas: Sequence[float], start: float) -> list[float]:
    """The part of a falling grid of positive levels and a last 0 that begins at the level nearest to `start`, in ln sigma."""
    first = min(range(len(sigmas) - 1), key=lambda k: abs(math.log(sigmas[k] / start)))
    return list(sigmas[first:])


def ending_at(sigmas: Sequence[float], least: float) -> list[float]:
    """A falling grid of positive levels and a last 0 whose lowest is at least that, its steps in ln sigma shortened alike."""
    high, low = sigmas[0], sigmas[-2]
    if low >= least or high <= least:
        return list(sigmas)
    power = math.log(least / high) / math.log(low / high)
    return [*(high * (s / high) ** power for s in sigmas[:-1]), 0.0]


def _told(rule: Rule | None, noise_sd: float) -> Rule | None:
    """A data rule that knows the noise, where it has a use for it."""
    own = getattr(rule, "keywords", {})
    return partial(rule, noise_sd=noise_sd) if "noise_sd" in own else rule


def low_frequencies(op: LinearOperator, y: Tensor, weight: float = 0.03, share: float = 0.5) -> Project:
    """The pull of a state towards the measured image's low frequencies, weight in [0, 1], for `constraint` of a solver.

    x <- (1 - weight) x + weight q, with q the image of the central `share` of k-space along each axis (Chung, Lee & Ye 2023).
    """
    if not 0 <= weight <= 1 or not 0 < share <= 1:
        raise ValueError(f"weight and share must lie in [0, 1], not {weight} and {share}")
    image = op.pinv(y)
    near = [torch.fft.fftfreq(n, device=image.device).abs() <= share / 2 for n in image.shape[2:]]
    low = ifft(fft(image) * (near[0][:, None] & near[1])).real
    return lambda x, sigma: (1 - weight) * x + weight * low

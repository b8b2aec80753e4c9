"""Speckle of coherent imaging (OCT, ultrasound): how log-compressed intensity scatters about its mean."""

import math

import torch
from torch import Tensor

from diffzoo.diffusion.noise import blurred

DECIBELS = 10 / math.log(10)


def log_bias(looks: float) -> float:
    """Mean in dB of the log intensity of speckle of mean 1 that is averaged over `looks` frames: -2.51 for one.

    Intensity is gamma distributed with that shape (Schmitt, Xiang & Yung 1999), so the mean of its log is psi(L) - ln L.
    """
    return DECIBELS * (float(torch.digamma(torch.tensor(float(looks), dtype=torch.float64))) - math.log(looks))


def log_sd(looks: float) -> float:
    """Standard deviation in dB of the same, sqrt(psi'(L)): 5.57 for one frame, whatever the intensity."""
    return DECIBELS * float(torch.polygamma(1, torch.tensor(float(looks), dtype=torch.float64))) ** 0.5


def log_speckle(shape: tuple[int, int, int], looks: int, width: float, generator: torch.Generator) -> Tensor:
    """Speckle of slices [D, H, W] in dB with mean 0, to be added to the log of a mean intensity.

    A frame is |s|^2 of a complex Gaussian field that the point spread, a Gaussian of `width` pixels, has blurred; `looks` frames
    are averaged before the log. Raises ValueError for less than one look.
    """
    if looks < 1:
        raise ValueError(f"speckle is of one frame at least, not {looks}")
    power = torch.zeros(shape, dtype=torch.float64)  # so that a file of grey values is the same by any number of threads
    for _ in range(looks):
        field = torch.randn(2, *shape, generator=generator).double()
        power += blurred(field, width).square().sum(0) / 2
    return (DECIBELS * (power / looks).clamp(min=1e-9).log() - log_bias(looks)).float()

"""Simulated MRI acquisitions: coil sensitivities, a smooth image phase, and noisy multi-coil k-space of a magnitude volume."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffzoo.operators.fourier import fft_centred


def birdcage_maps(coils: int, shape: Sequence[int], radius: float = 1.5) -> Tensor:
    """Complex64 sensitivities [coils, H, W] of loops evenly placed round the image, with sum |S|^2 = 1 in each pixel.

    Each loop is a pair of opposite line currents along the axis of the cylinder of `radius` (in half image widths), whose
    transverse field is 1 / (z - a) - 1 / (z - b) in complex coordinates (Biot-Savart). Raises ValueError for no coil, or a radius
    that lets currents into the image.
    """
    if coils < 1:
        raise ValueError(f"at least one coil is needed, not {coils}")
    if radius <= math.sqrt(2):
        raise ValueError(f"the coil radius must exceed sqrt(2) half widths, the image's corner, not {radius}")
    y, x = (_coordinate(n) for n in shape)
    z = torch.complex(*torch.broadcast_tensors(x[None, :], y[:, None]))
    half = math.pi / max(coils, 4)  # half the angle a loop spans
    angle = 2 * math.pi * torch.arange(coils, dtype=torch.float64) / coils
    first, second = (torch.polar(torch.full_like(angle, radius), angle + turn)[:, None, None] for turn in (-half, half))
    field = 1 / (z - first) - 1 / (z - second)
    return (field / field.abs().square().sum(0).sqrt()).to(torch.complex64)


def _coordinate(n: int) -> Tensor:
    """Pixel centres of an axis over (-1, 1), 0 for a single pixel."""
    return (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / (n / 2)


def phase_map(shape: Sequence[int], generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Smooth random phase, complex64 of modulus 1: a quadratic polynomial over `shape` of standard deviation `strength` rad."""
    axes = torch.meshgrid(*[_coordinate(n) for n in shape], indexing="ij")
    terms = [torch.ones_like(axes[0]), *axes, *(a * b for i, a in enumerate(axes) for b in axes[i:])]
    weights = torch.randn(len(terms), generator=generator, dtype=torch.float64)
    angle = sum(w * t for w, t in zip(weights, terms, strict=True))
    spread = angle.std(correction=0)
    angle = strength * angle / spread if spread > 0 else angle * strength
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def simulate_kspace(image, coils: int, noise_sd: float, generator: torch.Generator, phase_strength: float = 1.0) -> Tensor:
    """Magnitude volume [D, H, W] (array or tensor) -> complex64 k-space [D, coils, H, W], centred and orthonormal (fastMRI).

    The image gets a smooth phase and birdcage coils; white noise of sd `noise_sd`, in image units, is added to the real and the
    imaginary part of each coil. Raises ValueError for a volume that is not 3D or a negative noise.
    """
    volume = torch.as_tensor(image, dtype=torch.float32)
    if volume.ndim != 3:
        raise ValueError(f"the volume must be [D, H, W], not of shape {list(volume.shape)}")
    if noise_sd < 0:
        raise ValueError(f"noise_sd must not be negative, not {noise_sd}")
    complex_image = volume * phase_map(volume.shape, generator, phase_strength)
    kspace = fft_centred(complex_image[:, None] * birdcage_maps(coils, volume.shape[1:]))
    noise = torch.randn(*kspace.shape, 2, generator=generator)
    return kspace + noise_sd * torch.view_as_complex(noise)

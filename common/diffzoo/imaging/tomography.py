"""CT numbers and projections: Hounsfield units, attenuation, and the photons that a detector counts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffzoo.imaging.smooth import denoise_tv, fista
from diffzoo.operators.backprojection import fbp, fbp_by_transpose
from diffzoo.operators.radon import Radon

AIR, TOP = -1000.0, 2000.0  # HU; the window in which images are reconstructed
STEP = 0.9  # of FISTA: the filtered operator has a norm of at most about 1.1
WATER = 0.0195  # attenuation of water in 1/mm, about 68 keV (NIST XCOM)


def attenuation_of(hu: Tensor) -> Tensor:
    """Attenuation relative to water of CT numbers clipped to [-1000, 2000] HU: air 0, water 1, at most 3."""
    return (hu.clamp(AIR, TOP) - AIR) / -AIR


def hu_of(attenuation: Tensor) -> Tensor:
    """CT numbers (HU) of attenuation relative to water, the inverse of `attenuation_of`."""
    return AIR - AIR * attenuation


def first_image(
    op: Radon, y: Tensor, measured: Tensor | None = None, steps: int = 30, weight: float = 0.01, tolerance: float = 0.0
) -> Tensor:
    """What the prior is conditioned on, [B, 1, H, W] within the window: a few steps towards least squares with total variation.

    y [B, 1, views, detectors]: line integrals of attenuation relative to water; measured [B, 1, views, 1] of 0 and 1: the views
    of each item, all by default. FISTA (Beck & Teboulle 2009) on the data weighted by the Hann-filtered ramp: its gradient is the
    filtered backprojection of the misfit, and the operator nearly a projection, so tens of steps do the work of hundreds. It ends
    before where a step changes less than `tolerance` of the norm.
    """
    kept = torch.ones(1, 1, y.shape[2], 1).to(y) if measured is None else measured
    top = attenuation_of(torch.tensor(TOP)).item()

    def step(z: Tensor) -> Tensor:
        return denoise_tv((z + STEP * fbp_by_transpose(op, kept * (y - op.A(z)), "hann")).clamp(0, top), weight, 5)

    return fista(step, fbp(op, kept * y).clamp(0, top), steps, tolerance)


def count_photons(y: Tensor, dose: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Line integrals [B, C, views, detectors] as measured with `dose` photons sent along each ray, one generator an item.

    y: attenuation relative to water x mm. Counts are Poisson around dose exp(-WATER y); a ray that none passes counts as one.
    Raises ValueError unless dose is positive.
    """
    if not dose > 0:
        raise ValueError(f"dose must be a positive number of photons a ray, or null for data without noise, not {dose}")
    expected = dose * torch.exp(-WATER * y)
    counts = torch.stack([torch.poisson(e, generator=g) for e, g in zip(expected.cpu(), generators, strict=True)])
    return -torch.log(counts.clamp(min=1) / dose).to(y) / WATER

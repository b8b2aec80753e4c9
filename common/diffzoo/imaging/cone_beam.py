"""Cone-beam CT simulated from CT slices: scatter, noise, streaks of few views; and CT stored in another contrast."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.tomography import AIR, TOP, WATER, attenuation_of, hu_of
from diffzoo.operators.backprojection import fbp
from diffzoo.operators.beams import FanBeam, arc
from diffzoo.operators.radon import Radon

SOURCE_MM, DETECTOR_MM = 1000.0, 500.0  # from the source to the axis, and from there to the detector, as of a linear accelerator
BINS_PER_PIXEL = 1.0  # of the detector, at the axis
FEWEST = 0.5  # photons: what a ray counts at the least


@dataclass(frozen=True)
class ConeBeam:
    """simulate(hu [D, 1, H, W], pixel (mm, mm), numbers of the slices) -> the same slices as a cone-beam CT shows them, in HU.

    Each slice is the middle plane of a cone: a fan of `views` over the full turn. Scatter is `scatter` times the intensity that
    was lost once, I ln(I0 / I), blurred along the detector by `reach` mm at the axis (Ohnesorge et al. 1999): it makes the
    middle of a body darker (cupping). `photons` a ray give Poisson noise, and few views draw streaks from bone and gas.
    Filtered backprojection with a Hann window. Noise is of `seed` and the number of a slice. `gain` and `shift` (HU) are of a
    scanner's calibration.
    """

    scatter: float = 0.025
    reach: float = 100.0
    photons: float = 4e4
    views: int = 150
    gain: float = 1.0
    shift: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scatter < 0 or not min(self.reach, self.photons, self.gain) > 0 or self.views < 8:
            raise ValueError(f"a cone beam needs scatter >= 0, views >= 8 and all else positive, not {self}")

    def __call__(self, hu: Tensor, pixel: Sequence[float], index: Sequence[int]) -> Tensor:
        op = scanner(tuple(hu.shape[2:]), tuple(float(p) for p in pixel), self.views)
        volumes = []
        for plane, number in zip(hu.float().split(1), index, strict=True):  # the last bit decides whether a photon is counted
            generator = torch.Generator().manual_seed(stream(self.seed, int(number)))
            seen = self.measured(op.A(attenuation_of(plane)), op.beam.central_spacing, generator)
            volumes.append(self.gain * hu_of(fbp(op, seen, "hann")) + self.shift)
        return torch.cat(volumes).clamp(AIR, TOP)

    def measured(self, y: Tensor, spacing: float, generator: torch.Generator) -> Tensor:
        """Line integrals y [1, 1, views, bins] (relative to water, x mm) as they are measured, with bins `spacing` mm apart."""
        primary = torch.exp(-WATER * y)
        seen = primary + self.scatter * scattered(primary, self.reach / spacing)
        counts = torch.poisson(self.photons * seen.cpu(), generator=generator)
        return -torch.log(counts.clamp(min=FEWEST).to(y) / self.photons) / WATER


@dataclass(frozen=True)
class OtherWindow:
    """simulate(hu [D, 1, H, W], pixel, numbers of the slices) -> the slices as a program leaves them that bends the contrast.

    HU from `low` to `high` keep their ends and are bent by `gamma` between; all beyond is cut. Below 1 it makes tissue brighter.
    """

    low: float = -1000.0
    high: float = 1000.0
    gamma: float = 0.8

    def __post_init__(self) -> None:
        if not self.low < self.high or not self.gamma > 0:
            raise ValueError(f"a window needs low < high and gamma > 0, not {self}")

    def __call__(self, hu: Tensor, pixel: Sequence[float], index: Sequence[int]) -> Tensor:
        share = ((hu.float() - self.low) / (self.high - self.low)).clamp(0, 1)
        return self.low + (self.high - self.low) * share**self.gamma


def source_named(
    name: str = "cone_beam", scatter: float = 0.025, photons: float = 4e4, views: int = 150, gamma: float = 0.8, seed: int = 0
) -> ConeBeam | OtherWindow:
    """The simulation of that name, "cone_beam" or "window", with the options that it has; InputError for another name."""
    if name == "cone_beam":
        return ConeBeam(scatter=scatter, photons=photons, views=views, seed=seed)
    if name != "window":
        raise InputError(f"source={name!r} is unknown: choose cone_beam or window")
    return OtherWindow(gamma=gamma)


def scattered(primary: Tensor, reach: float) -> Tensor:
    """I ln(1 / I) of intensities I [B, 1, views, bins], as a share of those sent, under a Gaussian of `reach` bins; open ends."""
    once = -primary * primary.clamp(min=1e-12).log()
    half = max(1, math.ceil(3 * reach))
    kernel = torch.exp(-0.5 * (torch.arange(-half, half + 1) / reach).square()).to(primary)
    flat = once.reshape(-1, 1, once.shape[-1])
    return F.conv1d(flat, (kernel / kernel.sum()).view(1, 1, -1), padding=half).reshape(once.shape)


@lru_cache(maxsize=2)
def scanner(shape: tuple[int, int], pixel: tuple[float, float], views: int) -> Radon:
    """The projector of slices [H, W] for a fan of `views` over the full turn that sees the whole slice."""
    half = math.hypot(*[n * side / 2 for n, side in zip(shape, pixel, strict=True)])
    length = SOURCE_MM + DETECTOR_MM
    edge = length * half / math.sqrt(SOURCE_MM**2 - half**2)  # where the ray past a corner meets the detector
    step = min(pixel) / BINS_PER_PIXEL * length / SOURCE_MM
    bins = 2 * math.ceil(edge / step) + 1
    beam = FanBeam(arc(360.0, views), bins, step, SOURCE_MM, DETECTOR_MM)
    return Radon(beam, shape, pixel)

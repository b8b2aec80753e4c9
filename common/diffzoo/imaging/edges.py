"""Edges of CT slices as a condition: a bilateral filter and a Sobel filter of an 8-bit picture (Li et al. 2024, FGDM)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BITS = 255.0  # top of an 8-bit picture
UNIT = 2000.0  # HU of one model unit, which begins at AIR
AIR = -1000.0
TOP = 1.5  # of model units: 2000 HU


def to_units(hu: Tensor) -> Tensor:
    """CT numbers (HU) as model units (HU + 1000) / 2000, clipped to [-1000, 2000] HU: air 0, water 0.5, at most 1.5."""
    return ((hu - AIR) / UNIT).clamp(0, TOP)


def to_hu(x: Tensor) -> Tensor:
    """Model units as CT numbers (HU), the inverse of `to_units` within its range."""
    return x * UNIT + AIR


def eight_bit(x: Tensor, window: Sequence[float] = (-1000.0, 1000.0)) -> Tensor:
    """Model units as whole numbers from 0 to 255 over a window of HU (low, high), as floats."""
    low, high = window
    return ((to_hu(x) - low) / (high - low) * BITS).clamp(0, BITS).round()


def bilateral(image: Tensor, colour: Tensor, space: Tensor, radius: int = 4) -> Tensor:
    """Bilateral filter of images [B, 1, H, W], weights exp(-d^2 / 2 space^2 - difference^2 / 2 colour^2) within a disc of pixels.

    colour and space [B]: standard deviations of each image, in its values and in pixels (Tomasi & Manduchi 1998); edges are
    reflected without their last pixel. Raises ValueError for an image that is not larger than the radius.
    """
    height, width = image.shape[2:]
    if min(height, width) <= radius:
        raise ValueError(f"a bilateral filter of radius {radius} needs more than {radius} pixels a side, not {height} x {width}")
    padded = F.pad(image, [radius] * 4, mode="reflect")
    fine, near = (-0.5 / values.to(image).square().view(-1, 1, 1, 1) for values in (colour, space))
    total, weight = torch.zeros_like(image), torch.zeros_like(image)
    for dy, dx in _disc(radius):  # one by one: unfolding all of them is slower, its array does not fit a cache
        other = padded[..., radius + dy : radius + dy + height, radius + dx : radius + dx + width]
        w = torch.addcmul(near * (dy * dy + dx * dx), other - image, (other - image) * fine).exp_()
        total.addcmul_(w, other)
        weight += w
    return total / weight


def _disc(radius: int) -> list[tuple[int, int]]:
    steps = range(-radius, radius + 1)
    return [(dy, dx) for dy in steps for dx in steps if dy * dy + dx * dx <= radius * radius]


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives [B, 1, H, W] along both axes of images [B, 1, H, W] (weights 1 2 1 and -1 0 1), edges reflected."""
    smooth, slope = image.new_tensor([1.0, 2.0, 1.0]), image.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([slope[:, None] * smooth, smooth[:, None] * slope])[:, None]
    return F.conv2d(F.pad(image, [1] * 4, mode="reflect"), kernels).split(1, 1)


@dataclass(frozen=True)
class EdgeMap:
    """edges(x, threshold, blur) -> map [B, 1, H, W] in [0, 1] of images x [B, 1, H, W] in model units.

    8 bits of `window` (HU); bilateral filter with colour and space of `blur`; Sobel, absolute, at most 255; the mean of both
    axes, rounded; 0 below `threshold`; then stretched to [0, 1] in each image, as the released code of FGDM does on 8-bit
    pictures. threshold and blur [B] in 8-bit units are by default those of the paper's tests (5 and 9).
    """

    window: tuple[float, float] = (-1000.0, 1000.0)
    radius: int = 4
    threshold: float = 5.0
    blur: float = 9.0

    def __post_init__(self) -> None:
        if not self.window[0] < self.window[1] or self.radius < 1 or self.threshold < 0 or not self.blur > 0:
            raise ValueError(f"edges need a rising window, radius >= 1, threshold >= 0 and blur > 0, not {self}")

    def __call__(self, x: Tensor, threshold: Tensor | None = None, blur: Tensor | None = None) -> Tensor:
        threshold = x.new_full((len(x),), self.threshold) if threshold is None else threshold.to(x)
        blur = x.new_full((len(x),), self.blur) if blur is None else blur.to(x)
        smooth = bilateral(eight_bit(x, self.window), blur, blur, self.radius).round()
        along, across = (part.abs().clamp(max=BITS) for part in sobel(smooth))
        strength = ((along + across) / 2).round()
        strength = torch.where(strength < threshold.view(-1, 1, 1, 1), 0, strength)
        low, high = strength.amin((1, 2, 3), keepdim=True), strength.amax((1, 2, 3), keepdim=True)
        return (strength - low) / (high - low + 1e-8)

"""Phantoms of ellipses: their pixel image, and their exact sinogram in parallel and fan beams.

Millimetres; x and y are as in `diffzoo.operators.beams`, with (0, 0) at the centre of the image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.operators.beams import Beam


@dataclass(frozen=True)
class Ellipse:
    """Adds `value` in an ellipse of half axes `axes` about `centre` (x, y); `angle` (radians) turns the first one from x to y.

    Raises InputError for a half axis that is not positive.
    """

    value: float
    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not min(self.axes) > 0:
            raise InputError(f"the half axes of an ellipse must be positive, not {self.axes}")


def disc(value: float, radius: float, centre: tuple[float, float] = (0.0, 0.0)) -> Ellipse:
    """An ellipse with equal half axes."""
    return Ellipse(value, centre, (radius, radius))


# value, half axes along the head and across it, centre along and across, angle in degrees: Toft 1996, table B.1
_HEAD = (
    (1.0, 0.92, 0.69, 0.0, 0.0, 0.0),
    (-0.8, 0.874, 0.6624, -0.0184, 0.0, 0.0),
    (-0.2, 0.31, 0.11, 0.0, 0.22, 18.0),
    (-0.2, 0.41, 0.16, 0.0, -0.22, -18.0),
    (0.1, 0.25, 0.21, 0.35, 0.0, 0.0),
    (0.1, 0.046, 0.046, 0.1, 0.0, 0.0),
    (0.1, 0.046, 0.046, -0.1, 0.0, 0.0),
    (0.1, 0.023, 0.046, -0.605, -0.08, 0.0),
    (0.1, 0.023, 0.023, -0.605, 0.0, 0.0),
    (0.1, 0.046, 0.023, -0.605, 0.06, 0.0),
)


def shepp_logan(radius: float, value: float = 1.0) -> tuple[Ellipse, ...]:
    """The modified Shepp-Logan head (Toft 1996) within a circle of `radius` mm, its length along x, its skull of `value`."""
    return tuple(
        Ellipse(value * v, (radius * x, radius * y), (radius * along, radius * across), math.radians(turn))
        for v, along, across, x, y, turn in _HEAD
    )


def ellipse_image(
    ellipses: Sequence[Ellipse], shape: Sequence[int], pixel: Sequence[float] = (1.0, 1.0), lines: int = 16
) -> Tensor:
    """Mean value over each pixel, float32 [1, 1, H, W]: exact along axis 1, from `lines` lines a pixel along axis 0.

    Raises InputError for a shape or pixel that is not of two positive numbers.
    """
    if len(shape) != 2 or len(pixel) != 2 or not min(*shape, *pixel, lines) > 0:
        raise InputError(f"shape and pixel must be two positive numbers each, not {tuple(shape)} and {tuple(pixel)}")
    (height, width), (dx, dy) = shape, pixel
    x = ((torch.arange(height * lines, dtype=torch.float64) + 0.5) / lines - height / 2) * dx
    edges = (torch.arange(width + 1, dtype=torch.float64) - width / 2) * dy
    points, along = torch.stack((x, torch.zeros_like(x)), 1), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    image = torch.zeros(height, width, dtype=torch.float64)
    for ellipse in ellipses:
        start, end = _crossing(ellipse, points, along)
        covered = edges.clamp(start[:, None], end[:, None]).diff(dim=1) / dy
        image += ellipse.value * covered.reshape(height, lines, width).mean(1)
    return image.float()[None, None]


def ellipse_sinogram(ellipses: Sequence[Ellipse], beam: Beam, rays: int = 1) -> Tensor:
    """Exact line integrals (value x mm) along the rays of a beam, float32 [1, 1, views, detectors].

    With several rays a bin, the mean over that many across its width, much as a detector measures it. Raises InputError for fewer
    than one.
    """
    if rays < 1:
        raise InputError(f"a bin needs at least one ray, not {rays}")
    fine = replace(beam, detectors=beam.detectors * rays, detector_spacing=beam.detector_spacing / rays)
    points, directions = fine.rays(slice(None))
    total = torch.zeros(len(points), dtype=torch.float64)
    for ellipse in ellipses:
        start, end = _crossing(ellipse, points, directions)
        total += ellipse.value * (end - start)
    return total.reshape(1, 1, len(beam.angles), beam.detectors, rays).mean(-1).float()


def _crossing(ellipse: Ellipse, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Where lines points + t directions, [R, 2] each, enter and leave the ellipse, t [R] twice; the same t where they miss it."""
    cos, sin = math.cos(ellipse.angle), math.sin(ellipse.angle)
    to_circle = points.new_tensor([[cos, sin], [-sin, cos]]) / points.new_tensor(ellipse.axes)[:, None]
    p, d = (points - points.new_tensor(ellipse.centre)) @ to_circle.mT, directions @ to_circle.mT
    square, middle = d.square().sum(1), (p * d).sum(1)
    root = (middle.square() - square * (p.square().sum(1) - 1)).clamp(min=0).sqrt()
    return (-middle - root) / square, (-middle + root) / square

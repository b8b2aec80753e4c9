"""Parallel and fan beams of X-rays in the plane: where the rays run, and what filtered backprojection needs to know of them.

Millimetres and radians throughout. Axis 0 of an image is x and axis 1 is y; pixel (i, j) of an image [H, W] has its centre at
x = (i - (H - 1) / 2) * pixel[0], y = (j - (W - 1) / 2) * pixel[1], and the beam turns about (0, 0), the centre of the image.
At angle a the rays run along d = (-sin a, cos a) and the detector along e = (cos a, sin a), so at angle 0 the detector lies along
axis 0 and the rays along axis 1. Bin k of n is at (k - (n - 1) / 2) * spacing + offset along e.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WEDGE = 4  # usual spacings: a wider gap between neighbouring views is a missing wedge
TAPER = math.radians(10)  # of the ends of an arc, where fan-beam views are blended with those that repeat their rays


def arc(degrees: float, views: int, start: float = 0.0) -> tuple[float, ...]:
    """Angles (radians) of evenly spaced views from `start` over an arc, both in degrees; the end of the arc is not included."""
    if views < 1:
        raise ValueError(f"an arc needs at least one view, not {views}")
    return tuple(math.radians(start + degrees * k / views) for k in range(views))


def covering(shape: Sequence[int], pixel: Sequence[float] = (1.0, 1.0)) -> tuple[int, float]:
    """Bins and their spacing (mm), the smaller side of a pixel, of a centred parallel detector that sees a whole image [H, W]."""
    spacing = min(pixel)
    diagonal = math.hypot(*[(n - 1) * side for n, side in zip(shape, pixel, strict=True)])
    return math.ceil(diagonal / spacing - 1e-9) + 1, spacing


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel rays; `offset` moves the detector along its own axis.

    Raises ValueError for no angle, no bin, or a spacing that is not positive.
    """

    angles: tuple[float, ...]
    detectors: int
    detector_spacing: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check(self.angles, self.detectors, self.detector_spacing, self.offset)

    @property
    def field_radius(self) -> float:
        """Radius of the circle about the centre that the outermost bins see in every view; negative when there is none."""
        return (self.detectors - 1) / 2 * self.detector_spacing - abs(self.offset)

    @property
    def weighs_pixels(self) -> bool:
        """Whether backprojection weighs pixels by their place in a view."""
        return False

    @property
    def central_spacing(self) -> float:
        """Distance of neighbouring rays at the centre of rotation."""
        return self.detector_spacing

    def rays(self, views: slice) -> tuple[Tensor, Tensor]:
        """A point and the unit direction of each ray, float64 [V * detectors, 2]."""
        along, across = _axes(self.angles[views])
        points = _bins(self)[:, None] * across[:, None]
        return points.flatten(0, 1), along[:, None].expand_as(points).flatten(0, 1)

    def locate(self, points: Tensor, view: int) -> tuple[Tensor, Tensor]:
        """Bin (a fraction) that sees each point [N, 2] in a view, and the weight [N or 1] of the view there."""
        _, across = _axes(self.angles[view : view + 1])
        return _bin_of(self, points @ across[0].to(points)), points.new_ones(1)

    def weights(self) -> Tensor:
        """Weight of each ray before filtering, float64 [V, 1]: the angle that its view stands for."""
        return angle_weights(self.angles, math.pi)[:, None]


@dataclass(frozen=True)
class FanBeam:
    """Rays from a source at -source_distance * d to a flat detector, which lies detector_distance beyond the centre of rotation.

    A detector_distance of 0 puts the detector's line through the centre, where its bins are as wide as the rays are apart. Raises
    ValueError as ParallelBeam does, and for a distance that is out of range.
    """

    angles: tuple[float, ...]
    detectors: int
    detector_spacing: float
    source_distance: float
    detector_distance: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check(self.angles, self.detectors, self.detector_spacing, self.offset)
        if not (0 < self.source_distance < math.inf and 0 <= self.detector_distance < math.inf):
            raise ValueError(
                f"source_distance must be positive and detector_distance not negative (mm), not {self.source_distance} and "
                f"{self.detector_distance}"
            )

    @property
    def _length(self) -> float:
        return self.source_distance + self.detector_distance

    @property
    def field_radius(self) -> float:
        """Radius of the circle about the centre that the outermost bins see in every view; negative when there is none."""
        side = (self.detectors - 1) / 2 * self.detector_spacing - abs(self.offset)
        return self.source_distance * side / math.hypot(side, self._length)

    @property
    def weighs_pixels(self) -> bool:
        """Whether backprojection weighs pixels by their place in a view."""
        return True

    @property
    def central_spacing(self) -> float:
        """Distance of neighbouring rays at the centre of rotation."""
        return self.detector_spacing * self.source_distance / self._length

    def rays(self, views: slice) -> tuple[Tensor, Tensor]:
        """A point and the unit direction of each ray, float64 [V * detectors, 2]."""
        along, across = (axis[:, None] for axis in _axes(self.angles[views]))
        ways = self._length * along + _bins(self)[:, None] * across
        points = (-self.source_distance * along).expand_as(ways)
        return points.flatten(0, 1), torch.nn.functional.normalize(ways, dim=-1).flatten(0, 1)

    def locate(self, points: Tensor, view: int) -> tuple[Tensor, Tensor]:
        """Bin (a fraction) that sees each point [N, 2] in a view, and the weight [N or 1] of the view there."""
        along, across = (axis[0].to(points) for axis in _axes(self.angles[view : view + 1]))
        depth = self.source_distance + points @ along
        return _bin_of(self, points @ across * self._length / depth), (self.source_distance / depth).square()

    def weights(self) -> Tensor:
        """Weight of each ray before filtering, float64 [V, detectors]: its view's angle, its obliqueness, and its share.

        A ray that another view measured from the other end shares its weight with it, smoothly over the ends of the arc (Noo et
        al. 2002), so short scans, full turns and arcs too short to measure any ray twice are all weighted right.
        """
        turn = torch.atan(_bins(self) / self._length)
        angles = torch.tensor(self.angles, dtype=torch.float64)[:, None]
        here, there = (_measured(self.angles, a) for a in (angles, angles + math.pi - 2 * turn))
        return angle_weights(self.angles, 2 * math.pi)[:, None] * turn.cos() * here / (here + there)


Beam = ParallelBeam | FanBeam


def _check(angles: Sequence[float], detectors: int, spacing: float, offset: float) -> None:
    if not len(angles) or not all(math.isfinite(a) for a in angles):
        raise ValueError("a beam needs a tuple of one or more finite angles (radians)")
    if detectors < 1:
        raise ValueError(f"a beam needs at least one detector bin, not {detectors}")
    if not 0 < spacing < math.inf or not math.isfinite(offset):
        raise ValueError(f"detector_spacing must be positive and offset finite (mm), not {spacing} and {offset}")


def _axes(angles: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Unit vectors along the rays and along the detector, float64 [V, 2] each."""
    a = torch.tensor(angles, dtype=torch.float64)
    return torch.stack((-a.sin(), a.cos()), 1), torch.stack((a.cos(), a.sin()), 1)


def _bins(beam: Beam) -> Tensor:
    """Positions of the bins along the detector, float64 [detectors]."""
    steps = torch.arange(beam.detectors, dtype=torch.float64) - (beam.detectors - 1) / 2
    return steps * beam.detector_spacing + beam.offset


def _bin_of(beam: Beam, position: Tensor) -> Tensor:
    return (position - beam.offset) / beam.detector_spacing + (beam.detectors - 1) / 2


def angle_weights(angles: Sequence[float], period: float) -> Tensor:
    """The angle each view stands for, float64 [V]: half the way to its neighbours on a circle of `period` radians.

    A gap of more than four usual spacings (their median) is a missing wedge, and nothing stands for it. Views that repeat one
    another share their weight, so an arc beyond the period does not count twice.
    """
    turned, order = torch.tensor(angles, dtype=torch.float64).remainder(period).sort()
    gaps, usual = _gaps(turned, period)
    gaps = torch.where(gaps > WEDGE * usual, usual, gaps)
    weights = torch.empty_like(gaps)
    weights[order] = (gaps + gaps.roll(1)) / 2
    return weights


def _gaps(turned: Tensor, period: float) -> tuple[Tensor, Tensor]:
    """The way from each of the sorted angles to the next one round the circle, and the median of those that are not 0."""
    gaps = torch.cat((turned[1:], turned[:1] + period)) - turned
    return gaps, gaps[gaps > 1e-6 * period].median()


def _measured(angles: Sequence[float], at: Tensor) -> Tensor:
    """1 for source angles well within the measured arcs, 0 in the missing wedges, and a smooth step of width TAPER between."""
    turned = torch.tensor(angles, dtype=torch.float64).remainder(2 * math.pi).sort().values
    gaps, usual = _gaps(turned, 2 * math.pi)
    depth = torch.full_like(at, TAPER)
    for start, gap in zip(turned[gaps > WEDGE * usual], gaps[gaps > WEDGE * usual], strict=True):
        past = (at - start - usual / 2).remainder(2 * math.pi)  # a view stands for half a spacing beyond itself
        depth = depth.minimum((past - (gap - usual)).clamp(min=0)).minimum(2 * math.pi - past)
    return (math.pi / 2 * depth / TAPER).sin().square()

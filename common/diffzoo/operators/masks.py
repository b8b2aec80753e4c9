"""Sampling masks of k-space, CENTRED as people see them and files hold them; `fourier.uncentre` brings them to the operators.

Each is a float32 tensor of the whole `shape`, with frequency 0 at element N // 2. `acceleration` is the ratio of all samples
to the measured ones, calibration centre included: the masks draw without replacement and meet it to the nearest line or sample.
(The code released with Score-MRI draws with replacement, and its nominal 4 is 4.07 to 4.47 in effect.)
"""

import difflib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = 8  # lines: below this a calibration centre and an acceleration mean nothing


def effective_acceleration(mask: Tensor) -> float:
    """Samples in all divided by samples measured; ValueError for a mask that measures nothing."""
    measured = float(mask.double().mean())
    if measured <= 0:
        raise ValueError("the mask measures nothing")
    return 1 / measured


def make_mask(kind: str, shape: Sequence[int], acceleration: float, center_fraction: float, generator: torch.Generator) -> Tensor:
    """Centred mask of a kind: "gaussian1d", "uniform1d", "equispaced" (lines along the last axis) or "poisson2d".

    Raises ValueError for another kind, naming the nearest, and as the functions of each kind do.
    """
    makers = {
        "gaussian1d": gaussian_1d,
        "uniform1d": uniform_1d,
        "equispaced": equispaced,
        "poisson2d": poisson_disk_2d,
    }
    if kind not in makers:
        near = difflib.get_close_matches(kind, makers, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown mask {kind!r}; {hint}known: {', '.join(makers)}")
    return makers[kind](shape, acceleration, center_fraction, generator)


def gaussian_1d(
    shape: Sequence[int], acceleration: float, center_fraction: float, generator: torch.Generator, axis: int = -1
) -> Tensor:
    """Lines along `axis` drawn with Gaussian density about the centre, sd 15 N / 128 (Chung & Ye 2022).

    The round(center_fraction * N) central lines (at least one) are always measured and count within the budget. Raises ValueError
    for acceleration < 1, a centre outside (0, 1) or larger than the budget, or fewer than 8 lines.
    """
    n = shape[axis]
    offset = torch.arange(n, dtype=torch.float64) - n // 2
    return _random_lines(shape, acceleration, center_fraction, generator, axis, torch.exp(-0.5 * (offset * 128 / (15 * n)) ** 2))


def uniform_1d(
    shape: Sequence[int], acceleration: float, center_fraction: float, generator: torch.Generator, axis: int = -1
) -> Tensor:
    """Lines along `axis` drawn with even density outside the centre; centre and errors as for `gaussian_1d`."""
    return _random_lines(shape, acceleration, center_fraction, generator, axis, torch.ones(shape[axis], dtype=torch.float64))


def equispaced(
    shape: Sequence[int], acceleration: float, center_fraction: float, generator: torch.Generator, axis: int = -1
) -> Tensor:
    """Lines along `axis` at even steps (to one line) outside the centre, from a random offset; else as for `gaussian_1d`."""
    lines, rest = _centre_lines(shape[axis], acceleration, center_fraction)
    outer = torch.nonzero(lines == 0).flatten()
    if rest:
        start = torch.rand((), generator=generator, dtype=torch.float64)
        index = ((torch.arange(rest, dtype=torch.float64) + start) * len(outer) / rest).floor().long()
        lines[outer[index]] = 1
    return _along(lines, shape, axis)


def _random_lines(
    shape: Sequence[int],
    acceleration: float,
    center_fraction: float,
    generator: torch.Generator,
    axis: int,
    density: Tensor,
) -> Tensor:
    lines, rest = _centre_lines(shape[axis], acceleration, center_fraction)
    if rest:
        weights = density.clamp(min=1e-12) * (lines == 0)  # far lines of a large N must stay possible
        lines[torch.multinomial(weights, rest, replacement=False, generator=generator)] = 1
    return _along(lines, shape, axis)


def _along(lines: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    view = [1] * len(shape)
    view[axis] = len(lines)
    return lines.reshape(view).expand(tuple(shape)).contiguous()


def _block(n: int, center_fraction: float) -> slice:
    count = max(1, round(center_fraction * n))
    return slice(n // 2 - count // 2, n // 2 - count // 2 + count)


def _centre_lines(n: int, acceleration: float, center_fraction: float) -> tuple[Tensor, int]:
    """Lines [n] with the centre set, and how many more the budget allows."""
    _check(acceleration, center_fraction, n)
    lines = torch.zeros(n)
    lines[_block(n, center_fraction)] = 1
    return lines, _rest(n, acceleration, int(lines.sum()), center_fraction)


def _check(acceleration: float, center_fraction: float, smallest: int) -> None:
    if not 1 <= acceleration < math.inf:
        raise ValueError(f"acceleration must be at least 1, not {acceleration}")
    if not 0 < center_fraction < 1:
        raise ValueError(f"center_fraction must lie in (0, 1), not {center_fraction}")
    if smallest < SMALLEST:
        raise ValueError(f"a mask needs at least {SMALLEST} lines along the undersampled axis, not {smallest}")


def _rest(samples: int, acceleration: float, centre: int, center_fraction: float) -> int:
    rest = round(samples / acceleration) - centre
    if rest < 0:
        raise ValueError(
            f"the centre ({centre} of {samples} samples, center_fraction {center_fraction:g}) is more than acceleration "
            f"{acceleration:g} allows; lower one of them"
        )
    return rest


def poisson_disk_2d(
    shape: Sequence[int],
    acceleration: float,
    center_fraction: float,
    generator: torch.Generator,
    slope: float = 2.0,
) -> Tensor:
    """Samples no two of which are closer than a radius that grows with frequency, r (1 + slope |k|), |k| = 1 at each axis's end.

    The central block of round(center_fraction * N) lines of each axis (at least one) is fully measured and counts within the
    budget. r is found by bisection and the few surplus samples are taken away at random, so the acceleration is met to the
    nearest sample. Raises ValueError for a shape that is not 2D, and as `gaussian_1d` does (dart throwing, after Bridson 2007).
    """
    if len(shape) != 2:
        raise ValueError(f"a Poisson disk mask is 2D, not of shape {list(shape)}")
    height, width = shape
    _check(acceleration, center_fraction, min(shape))
    centre = torch.zeros(height, width)
    centre[_block(height, center_fraction), _block(width, center_fraction)] = 1
    rest = _rest(height * width, acceleration, int(centre.sum()), center_fraction)
    growth = 1 + slope * torch.hypot(_frequency(height)[:, None], _frequency(width)[None, :])
    order = torch.randperm(height * width, generator=generator)
    order = order[centre.flatten()[order] == 0].tolist()
    chosen = _bisect(growth, order, rest) if rest else []
    surplus = torch.randperm(len(chosen), generator=generator)[:rest]
    flat = centre.flatten()
    flat[torch.tensor(chosen, dtype=torch.long)[surplus]] = 1
    return flat.reshape(height, width)


def _frequency(n: int) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) - n // 2) / (n / 2)


def _bisect(growth: Tensor, order: list[int], count: int) -> list[int]:
    """Samples thrown with nearly the largest radius that still leaves `count` of them: at most 1 % more, where possible."""
    low, high = 0.0, 2 * math.sqrt(growth.numel() / count)  # low leaves every sample
    best = order
    for _ in range(20):
        middle = (low + high) / 2
        thrown = _throw(growth, middle, order)
        if len(thrown) < count:
            high = middle
            continue
        low, best = middle, thrown
        if len(thrown) <= 1.01 * count:
            break
    return best


def _throw(growth: Tensor, radius: float, order: list[int]) -> list[int]:
    """Samples (flat indices) in the order given, each kept unless it lies within the radius of one kept before."""
    height, width = growth.shape
    reach = min(math.ceil(radius * float(growth.max())), max(height, width))
    axis = torch.arange(-reach, reach + 1)
    square = (axis[:, None] ** 2 + axis[None, :] ** 2).flatten()
    sorted_square, rank = square.sort(stable=True)
    stride = width + 2 * reach  # a margin on every side spares the tests for the border
    offsets = (axis[:, None] * stride + axis[None, :]).flatten()[rank].tolist()
    reached = torch.searchsorted(sorted_square.double(), (radius * growth.flatten()) ** 2).tolist()
    free = bytearray(b"\1") * ((height + 2 * reach) * stride)
    kept = []
    for index in order:
        row, column = divmod(index, width)
        here = (row + reach) * stride + column + reach
        if free[here]:
            kept.append(index)
            for offset in offsets[: reached[index]]:
                free[here + offset] = 0
    return kept

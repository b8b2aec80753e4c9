"""Fixed features of images, in closed form: nothing is downloaded, drawn or trained, so a distance means the same everywhere."""

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

FLOOR = 0.01  # of the images' range: weaker detail counts as none
BINOMIAL = (1, 4, 6, 4, 1)
CELLS = {1: 8, 2: 4, 3: 2}  # of the layout, along each axis
LEAST = 8  # pixels of the coarsest scale


def features(images: Tensor, batch: int = 64) -> Tensor:
    """Features [B, C F] float64 of images [B, C, *S], 1D to 3D, whose range is about 1.

    A scattering transform of two layers (Bruna and Mallat 2013, eq. 7) on a binomial pyramid. At each scale the strength of
    detail along each direction to a neighbour: its mean and standard deviation over the image, and how its own detail goes on
    at every coarser scale, all as logarithms; and the layout: image, and detail at the two finest scales, on a grid of cells.
    F is 104 for 64 x 64, 156 for 256 x 256, 206 for 64^3 pixels. Images to compare must be of one size. Raises ValueError for
    fewer than 8 pixels along an axis, for other than 1 to 3 axes, and for values that are not finite.
    """
    if not 1 <= images.ndim - 2 <= 3 or min(images.shape[2:]) < LEAST:
        raise ValueError(f"features need [B, C, *S] of 1 to 3 axes with {LEAST} pixels or more, not {list(images.shape)}")
    if not torch.isfinite(images).all():
        raise ValueError("features need finite images: these hold NaN or infinity")
    return torch.cat([_scattered(part.float()) for part in images.split(batch)]).double()


def _scattered(x: Tensor) -> Tensor:
    dims, levels = x.ndim - 2, int(math.log2(min(x.shape[2:]) / LEAST)) + 1
    texture, layout, level = [], [_cells(x)], x
    for j in range(levels):
        strong = detail(level)
        flat = strong.flatten(3)
        texture += [flat.mean(3).flatten(1), flat.std(3).flatten(1)]
        if j < 2:
            layout.append(_cells(strong.mean(2)))
        coarser = strong.flatten(1, 2)
        for _ in range(j + 1, levels):
            coarser = halved(coarser)
            texture.append(detail(coarser).mean(tuple(range(2, 3 + dims))))
        level = halved(level)
    return torch.cat([torch.log(FLOOR + torch.cat(texture, 1)), *layout], 1)


def detail(x: Tensor) -> Tensor:
    """Strength of change [B, C, K, *S] along the K = 1, 4 or 13 directions to a neighbour (up to sign) of x [B, C, *S].

    The modulus of a pair of filters, odd and even: half the slope and half the curvature of a pixel and its two neighbours.
    """
    energies = []
    for step in _directions(x.ndim - 2):
        length = math.sqrt(sum(n * n for n in step))
        ahead, behind = shifted(x, step), shifted(x, tuple(-n for n in step))
        energies.append(torch.hypot(ahead - behind, ahead + behind - 2 * x) / (2 * length))
    return torch.stack(energies, 2)


def halved(x: Tensor) -> Tensor:
    """Every second pixel of x [B, C, *S] smoothed with the binomial filter 1 4 6 4 1 along each axis; edges are repeated."""
    x = smoothed(x)
    return x[(..., *[slice(None, None, 2)] * (x.ndim - 2))]


def smoothed(x: Tensor) -> Tensor:
    """x [B, C, *S] smoothed with the binomial filter 1 4 6 4 1 along each axis; edges are repeated."""
    for axis in range(x.ndim - 2):
        steps = ([n if a == axis else 0 for a in range(x.ndim - 2)] for n in range(-2, 3))
        x = sum(w * shifted(x, step) for w, step in zip(BINOMIAL, steps, strict=True)) / sum(BINOMIAL)
    return x


def shifted(x: Tensor, step: tuple[int, ...]) -> Tensor:
    """x [B, C, *S] seen from `step` pixels further along each axis; edges are repeated."""
    for axis, n in enumerate(step, 2):
        if n:
            at = (torch.arange(x.shape[axis], device=x.device) + n).clamp(0, x.shape[axis] - 1)
            x = x.index_select(axis, at)
    return x


def _directions(dims: int) -> list[tuple[int, ...]]:
    steps = itertools.product((-1, 0, 1), repeat=dims)
    return [step for step in steps if next((n for n in step if n), 0) > 0]


def _cells(x: Tensor) -> Tensor:
    dims = x.ndim - 2
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[dims - 1]
    return pool(x, CELLS[dims]).flatten(1)

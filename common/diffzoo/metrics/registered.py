"""Distance of two images after registration and normalisation: the first of the two views in which copies are sought."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from diffzoo.metrics.features import halved

CELLS = {1: 128, 2: 48, 3: 24}  # fewer than this along each axis are left by halving
REACH = {1: 0.08, 2: 0.08, 3: 0.05}  # largest shift, of an axis
PART = 256  # queries at a time


def reduced(images: Tensor, cells: int | None = None) -> Tensor:
    """images [B, C, *S] halved with smoothing until an axis has fewer than `cells` pixels; by default as this view does."""
    most = CELLS[images.ndim - 2] if cells is None else cells
    images = images.float()
    while min(images.shape[2:]) >= most:
        images = halved(images)
    return images


def between(queries: Tensor, items: Tensor) -> np.ndarray:
    """Distances [M, N] of queries [M, C, *S] to items [N, C, *S]: sqrt(2 (1 - r)), r the largest correlation over shifts.

    The inner window of each item against windows of each query and of its mirror image along each axis, up to 8 % of the
    axis apart (5 % in 3D), by whole pixels of images of under 96 (48) pixels an axis, which are then halved once more. A linear
    change of contrast costs nothing, noise little. Raises ValueError for images of unequal size.
    """
    if queries.shape[1:] != items.shape[1:]:
        raise ValueError(f"images to compare are of one size, not {list(queries.shape[1:])} and {list(items.shape[1:])}")
    most = 2 * CELLS[queries.ndim - 2]
    items = reduced(items, most)
    return np.concatenate([_between(reduced(part, most), items) for part in queries.split(PART)])


def _between(queries: Tensor, items: Tensor) -> np.ndarray:
    sizes = queries.shape[2:]
    reach = [max(1, math.floor(REACH[len(sizes)] * n)) for n in sizes]
    middle = _unit(reduced(_window(items, reach, [0] * len(sizes)))).T
    best = torch.full((len(queries), len(items)), -1.0)
    for axis in (None, *range(2, queries.ndim)):
        turned = queries if axis is None else queries.flip(axis)
        for shift in itertools.product(*(range(-r, r + 1) for r in reach)):
            best = torch.maximum(best, _unit(reduced(_window(turned, reach, shift))) @ middle)
    return (2 * (1 - best.double())).clamp(min=0).sqrt().numpy()


def _window(images: Tensor, reach: list[int], shift: tuple[int, ...] | list[int]) -> Tensor:
    for axis, (r, s) in enumerate(zip(reach, shift, strict=True), 2):
        images = images.narrow(axis, r + s, images.shape[axis] - 2 * r)
    return images


def _unit(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-9)

"""Patched diffusion (pDDPM, Behrendt et al. 2023): noise in one box of an image at a time, the rest of it clean context."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from .denoiser import Denoiser, expand_as

Box = tuple[slice, ...]  # one slice an axis of the image
PatchDenoise = Callable[[Tensor, float, Tensor, Tensor], Tensor]  # (x, sigma, box, rows of the batch) -> x0; conditions bound
Watch = Callable[[], None]


def grid_boxes(shape: Sequence[int], patch: int, overlap: float = 0.0) -> list[Box]:
    """Boxes of side `patch` (cut to the image) that cover an image of `shape` [*S], evenly spread along each axis.

    Neighbours share at least the part `overlap` of their side, 0 to below 1. Raises ValueError for a side below 1 or another
    overlap.
    """
    if patch < 1 or not 0 <= overlap < 1:
        raise ValueError(f"a box has a side of 1 or more and an overlap in [0, 1), not {patch} and {overlap}")
    axes = []
    for size in shape:
        side = min(patch, size)
        step = max(1, int(side * (1 - overlap) + 1e-9))
        count = 1 + -(-(size - side) // step)
        starts = [round(k * (size - side) / max(1, count - 1)) for k in range(count)]
        axes.append([slice(start, start + side) for start in starts])
    return list(product(*axes))


def box_mask(shape: Sequence[int], box: Box) -> Tensor:
    """1 in the box and 0 elsewhere, [*S]."""
    mask = torch.zeros(tuple(shape))
    mask[tuple(box)] = 1
    return mask


def noised_in(x: Tensor, sigma: float | Tensor, noise: Tensor, box: Tensor) -> Tensor:
    """x + sigma n in the box, x itself outside; x and noise [B, C, *S], box [B or 1, 1, *S] of 0 and 1, sigma one or [B]."""
    level = expand_as(sigma, x) if isinstance(sigma, Tensor) else sigma
    return torch.where(box > 0, x + level * noise, x)


def patch_loss(
    denoiser: Denoiser, x0: Tensor, sigma: Tensor, noise: Tensor, *, concat: Tensor, power: float = 1.0, **cond
) -> Tensor:
    """Loss of each item, [B]: |D(x) - x0|^power / c_out^power, the mean over the tissue in its box, where alone there is noise.

    x0 and noise [B, 1, *S], sigma [B]; concat [B, 2, *S]: tissue and box, both 0 or 1. power 1 is the paper's loss on x0; the
    factor makes the network's own target of even size at every sigma. The box counts whole where it holds no tissue.
    """
    tissue, box = concat.split(1, 1)
    error = (denoiser(noised_in(x0, sigma, noise, box), sigma, concat=concat, **cond) - x0).abs() ** power
    counted = torch.where((tissue * box).flatten(1).amax(1).view(-1, *[1] * (x0.ndim - 1)) > 0, tissue * box, box)
    mean = (error * counted).flatten(1).sum(1) / counted.flatten(1).sum(1)
    return mean / denoiser.precond(sigma)[1].abs() ** power


def patched_estimate(
    denoise: PatchDenoise,
    x: Tensor,
    sigma: float,
    noise: Tensor,
    boxes: Sequence[Box],
    blend: str = "mean",
    watch: Watch | None = None,
) -> Tensor:
    """x [B, C, *S] with each box replaced by its estimate from the noised box and the clean rest: one call a box and item.

    noise [B, C, *S] is that of an item for all of its boxes. Where boxes overlap their estimates are averaged: evenly ("mean"),
    or by the distance to the border of the box ("tent"), so that its middle counts most. Items that are 0 all over a box are
    left as they are. What no box covers stays. Raises ValueError for another blend.
    """
    total, weight = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
    for box in boxes:
        inside = box_mask(x.shape[2:], box).to(x)[None, None]
        share = window(x.shape[2:], box, blend).to(x)[None, None]
        rows = (x[(..., *box)] != 0).flatten(1).any(1)
        estimate = x.clone()
        if rows.any():
            estimate[rows] = denoise(noised_in(x[rows], sigma, noise[rows], inside), sigma, inside, rows)
        total, weight = total + share * estimate, weight + share
        if watch is not None:
            watch()
    return torch.where(weight > 0, total / weight.clamp(min=1e-12), x)


def window(shape: Sequence[int], box: Box, blend: str = "mean") -> Tensor:
    """Weights [*S] of a box in the average of those that overlap, 0 outside: 1, or a tent that falls to the border of the box."""
    if blend not in ("mean", "tent"):
        raise ValueError(f"blend is mean or tent, not {blend!r}")
    weights = torch.zeros(tuple(shape))
    inside = torch.ones(())
    for part in box:
        side = part.stop - part.start
        place = torch.arange(1, side + 1)
        ramp = torch.minimum(place, side + 1 - place) / ((side + 1) // 2) if blend == "tent" else torch.ones(side)
        inside = inside[..., None] * ramp
    weights[tuple(box)] = inside
    return weights

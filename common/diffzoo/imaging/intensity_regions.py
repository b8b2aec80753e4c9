"""Regions of like intensity in a slice: the structural masks of a synthesis, from a source and never from a target."""

import torch
from torch import Tensor

STEPS = 8  # of Lloyd's iteration


def intensity_regions(image: Tensor, mask: Tensor, count: int = 3) -> Tensor:
    """One-hot regions [B, count, H, W] of slices [B, 1, H, W] inside masks alike: k-means of the intensities, dark to bright.

    Centres begin at even quantiles of each slice (Lloyd 1982). Outside the mask, and of an empty mask, all are 0.
    """
    values, inside = image.flatten(1).float(), mask.flatten(1) > 0.5
    shares = torch.linspace(0, 1, 2 * count + 1, device=image.device)[1::2]
    ordered = torch.where(inside, values, torch.nan)
    centres = torch.nanquantile(ordered, shares, dim=1).mT.nan_to_num()  # [B, count]
    for _ in range(STEPS):
        nearest = (values[:, None] - centres[..., None]).abs().argmin(1)
        members = torch.nn.functional.one_hot(nearest, count).mT * inside[:, None]  # [B, count, N]
        total = members.sum(2)
        moved = (members * values[:, None]).sum(2) / total.clamp(min=1)
        centres = torch.where(total > 0, moved, centres)
    return members.unflatten(2, image.shape[2:]).to(image)

"""Self-fusion: a frame of a dense stack made cleaner by its neighbours, which show nearly the same (Oguz et al. 2020)."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from skimage.registration import phase_cross_correlation
from torch import Tensor
from torch.nn import functional as F

PATCH = 5  # pixels a side of the patches that are compared
RIDGE = 1.0  # times the mean diagonal: less follows the noise of a patch, more is the plain mean
EXPONENT = 2.0
FURTHEST = 8.0  # pixels by which a neighbour may lie elsewhere; a larger shift is a mistake of the registration
BAND = (2.0, 8.0)  # pixels: the registration sees what lies between two blurs, edges without speckle or broad light


def self_fused(stack: Tensor, index: int, radius: int = 3) -> Tensor:
    """Frame `index` of stack [D, H, W] fused with up to `radius` neighbours on each side; [H, W].

    Each neighbour is shifted onto the frame, and at each pixel they are weighted by joint label fusion (Wang et al. 2013, eq. 7).
    The frame itself counts as one among them. Without neighbours it is given as it is. Raises ValueError for a negative radius.
    """
    if radius < 0:
        raise ValueError(f"the radius counts neighbours, and is not {radius}")
    first, stop = max(0, index - radius), min(len(stack), index + radius + 1)
    frame, others = stack[index], [k for k in range(first, stop) if k != index]
    if not others:
        return frame
    moved = torch.stack([shifted_onto(stack[k], frame) for k in others])
    fused = (joint_weights(frame, moved) * moved).sum(0)
    return (frame + len(others) * fused) / (len(others) + 1)


def shifted_onto(moving: Tensor, fixed: Tensor) -> Tensor:
    """A frame [H, W] shifted onto another by the peak of their cross-correlation, to a quarter of a pixel."""
    window = np.outer(*(np.hanning(n) for n in fixed.shape))
    edges = [window * (_blurred(x, BAND[0]) - _blurred(x, BAND[1])) for x in (fixed, moving)]
    shift = phase_cross_correlation(*edges, upsample_factor=4, normalization=None)[0]
    if not np.any(shift) or np.abs(shift).max() > FURTHEST:
        return moving
    return torch.from_numpy(ndimage.shift(moving.numpy(), shift, order=1, mode="nearest"))


def _blurred(frame: Tensor, width: float) -> np.ndarray:
    return ndimage.gaussian_filter(frame.numpy(), width)


def joint_weights(target: Tensor, images: Tensor) -> Tensor:
    """Weights [K, H, W] of images [K, H, W] at each pixel, which sum to 1; the more alike two err, the less each counts.

    w = (M + a I)^-1 1 / (1^T (M + a I)^-1 1), M_ij = (mean over a patch of |t - f_i| |t - f_j|)^2 (Wang et al. 2013, eq. 6, 7).
    """
    count, errors = len(images), (images - target).abs()
    pairs = (errors[:, None] * errors[None]).flatten(0, 1)[:, None]
    matrix = F.avg_pool2d(pairs, PATCH, 1, PATCH // 2, count_include_pad=False)[:, 0].pow(EXPONENT)
    matrix = matrix.permute(1, 2, 0).unflatten(-1, (count, count))
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)[..., None]
    ridge = (RIDGE * diagonal + 1e-12) * torch.eye(count)
    solved = torch.linalg.solve(matrix + ridge, torch.ones(count))
    return (solved / solved.sum(-1, keepdim=True)).permute(2, 0, 1)


def fused_stack(stack: Tensor, radius: int = 3, frames: Sequence[int] | None = None) -> Tensor:
    """All frames of a stack [D, H, W], or those of `frames`, as `self_fused`."""
    return torch.stack([self_fused(stack, k, radius) for k in (range(len(stack)) if frames is None else frames)])

"""Smoothing of images by total variation, scikit-image's solver on batches, and the iteration that reconstructs with it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def denoise_tv(x: Tensor, weight: float, iterations: int, dtype: str = "float32") -> Tensor:
    """argmin |v - x|^2 / 2 + weight TV(v) of each channel of x [B, C, H, W] (Chambolle 2004), computed in `dtype`."""
    from skimage.restoration import denoise_tv_chambolle

    planes = x.reshape(-1, *x.shape[2:]).cpu().numpy().astype(dtype)
    smooth = [denoise_tv_chambolle(p, weight=weight, eps=1e-5, max_num_iter=iterations) for p in planes]
    return torch.from_numpy(np.stack(smooth)).to(x).reshape(x.shape)


def fista(step: Callable[[Tensor], Tensor], x: Tensor, iterations: int, tolerance: float = 0.0) -> Tensor:
    """Accelerated proximal gradient from x (Beck & Teboulle 2009, eq. 4.1-4.3); step: a gradient step and its proximal map.

    An item of the batch x [B, ...] stays as it is once a step has changed it by less than `tolerance` of its norm, so that it
    does not depend on its batch; the iteration ends when all stay.
    """
    z, momentum, moving = x, 1.0, torch.ones(len(x), *[1] * (x.ndim - 1), dtype=torch.bool, device=x.device)
    for _ in range(iterations):
        new = torch.where(moving, step(z), x)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        change = (new - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1).clamp(min=1e-12)
        z, x, momentum = new + (momentum - 1) / following * (new - x), new, following
        moving = moving & (change >= tolerance).reshape(moving.shape)
        if not moving.any():
            break
    return x

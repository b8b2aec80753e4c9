"""The classical method that a learned reconstruction is compared with: total variation, by scikit-image's solver."""

import numpy as np
import torch
from torch import Tensor

from diffzoo.operators.base import LinearOperator


def total_variation(op: LinearOperator, y: Tensor, weight: float, iterations: int = 60, inner: int = 30) -> Tensor:
    """argmin |A x - y|^2 / 2 + weight TV(x) for an operator of norm at most 1, [B, C, H, W].

    FISTA (Beck & Teboulle 2009) whose proximal map is `skimage.restoration.denoise_tv_chambolle`; channels are treated each by
    itself.
    """
    from skimage.restoration import denoise_tv_chambolle

    def prox(x: Tensor) -> Tensor:
        planes = x.reshape(-1, *x.shape[2:]).cpu().numpy().astype(np.float64)
        smooth = [denoise_tv_chambolle(p, weight=weight, eps=1e-5, max_num_iter=inner) for p in planes]
        return torch.from_numpy(np.stack(smooth)).to(x).reshape(x.shape)

    x = z = op.pinv(y)
    momentum = 1.0
    for _ in range(iterations):
        step = prox(z - op.AT(op.A(z) - y))
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        z, x, momentum = step + (momentum - 1) / following * (step - x), step, following
    return x

"""The classical method that a learned reconstruction is compared with: total variation, by scikit-image's solver."""

from torch import Tensor

from diffzoo.imaging.smooth import denoise_tv
from diffzoo.operators.base import LinearOperator


def total_variation(op: LinearOperator, y: Tensor, weight: float, iterations: int = 60, inner: int = 30) -> Tensor:
    """argmin |A x - y|^2 / 2 + weight TV(x) for an operator of norm at most 1, [B, C, H, W].

    FISTA (Beck & Teboulle 2009) whose proximal map is `skimage.restoration.denoise_tv_chambolle`; channels are treated each by
    itself.
    """
    x = z = op.pinv(y)
    momentum = 1.0
    for _ in range(iterations):
        step = denoise_tv(z - op.AT(op.A(z) - y), weight, inner, "float64")
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        z, x, momentum = step + (momentum - 1) / following * (step - x), step, following
    return x

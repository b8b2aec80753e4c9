"""The classical method that a learned reconstruction is compared with: total variation, by scikit-image's solver."""

from torch import Tensor

from diffzoo.imaging.smooth import denoise_tv, fista
from diffzoo.operators.base import LinearOperator


def total_variation(op: LinearOperator, y: Tensor, weight: float, iterations: int = 60, inner: int = 30) -> Tensor:
    """argmin |A x - y|^2 / 2 + weight TV(x) for an operator of norm at most 1, [B, C, H, W].

    FISTA (Beck & Teboulle 2009) whose proximal map is `skimage.restoration.denoise_tv_chambolle`; channels are treated each by
    itself.
    """
    return fista(lambda z: denoise_tv(z - op.AT(op.A(z) - y), weight, inner, "float64"), op.pinv(y), iterations)

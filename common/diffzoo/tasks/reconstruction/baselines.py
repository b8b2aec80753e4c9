"""The classical method that a learned reconstruction is compared with: total variation, by scikit-image's solver."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from diffzoo.imaging.smooth import denoise_tv, fista
from diffzoo.operators.base import LinearOperator

ITERATIONS, CHANGE = 500, 1e-4  # of a baseline: at the most, and the relative change that ends it


def total_variation(
    op: LinearOperator, y: Tensor, weight: float, iterations: int = ITERATIONS, inner: int = 30, tolerance: float = CHANGE
) -> Tensor:
    """argmin |A x - y|^2 / 2 + weight TV(x) for an operator of norm at most 1, [B, C, H, W].

    FISTA (Beck & Teboulle 2009) whose proximal map is `skimage.restoration.denoise_tv_chambolle`, to a relative change of
    `tolerance`; channels are treated each by itself.
    """
    return fista(lambda z: denoise_tv(z - op.AT(op.A(z) - y), weight, inner, "float64"), op.pinv(y), iterations, tolerance)


def tuned(table: Mapping[str, float], words: Sequence[object], chosen: float | None = 0.0) -> float | None:
    """The entry of a table of tuned weights for an acquisition, its words joined by blanks ("gaussian1d 4"); else the "default".

    Numbers are written without a trailing zero. A `chosen` weight that is not 0, or None, is returned as it is. Raises
    ValueError for a table without "default".
    """
    if chosen != 0:
        return chosen
    if "default" not in table:
        raise ValueError(f"a table of tuned weights needs an entry 'default'; it has {', '.join(table) or 'none'}")
    key = " ".join(f"{word:g}" if isinstance(word, int | float) else str(word) for word in words)
    return float(table.get(key, table["default"]))

"""The measurement behind a zero-filled image, and the forward model that goes with it."""

from torch import Tensor

from diffzoo.operators.base import LinearOperator
from diffzoo.operators.coils import estimate_maps, low_frequency_phase, root_sum_of_squares
from diffzoo.operators.fourier import MaskedFourier, RealMaskedFourier, SenseFourier, complex_of, fft, pairs_of


def kspace_of(image: Tensor, mask: Tensor) -> Tensor:
    """Measured k-space pairs of a zero-filled image.

    image [B, K, H, W]: K = 1 for a real image (its minimum-norm solution), else 2 x coils channels (Re, Im); mask [B or 1, 1, H, W]
    un-centred -> y [B, 2, H, W] or [B, 2 coils, H, W].
    """
    if image.shape[1] == 1:
        return RealMaskedFourier(mask).A(image)
    return mask * pairs_of(fft(complex_of(image)))


def zero_filled(y: Tensor, mask: Tensor) -> Tensor:
    """Magnitude [B, 1, H, W] of the image in which unmeasured k-space is zero; root sum of squares over coils."""
    coils = y.reshape(-1, 2, *y.shape[2:])
    images = MaskedFourier(mask).AT(coils) if len(mask) == 1 else MaskedFourier(_repeat(mask, y)).AT(coils)
    return root_sum_of_squares(images.reshape(y.shape))


def _repeat(mask: Tensor, y: Tensor) -> Tensor:
    return mask.repeat_interleave(y.shape[1] // 2, 0)


def forward_model(y: Tensor, mask: Tensor, real: bool) -> LinearOperator:
    """The operator that a reconstruction inverts, from the measured data alone.

    A real image: masked Fourier with its conjugate symmetry. One coil: the image with its low-frequency phase taken off, so that it
    is nearly real and non-negative as the prior's training images are. Several coils: SENSE with maps estimated from the
    calibration lines, which carry that phase too.
    """
    if real:
        return RealMaskedFourier(mask)
    return SenseFourier(mask, low_frequency_phase(y, mask) if y.shape[1] == 2 else estimate_maps(y, mask))


def magnitude(x: Tensor, real: bool) -> Tensor:
    """Image [B, K, H, W] -> [B, 1, H, W]: the real part above zero, or the root sum of squares of all channels."""
    return x.clamp(min=0) if real else root_sum_of_squares(x)

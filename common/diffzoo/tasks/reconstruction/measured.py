"""The measurement behind a zero-filled image, and the forward model that goes with it."""

from torch import Tensor

from diffzoo.operators.coils import estimate_maps, low_frequency_phase, root_sum_of_squares
from diffzoo.operators.fourier import RealMaskedFourier, SenseFourier, complex_of, fft, ifft, pairs_of

CG_STEPS = 5  # of SENSE, as in DDS (Chung, Lee & Ye 2024): each step of a sampler goes on, and noise is not yet amplified


def kspace_of(image: Tensor, mask: Tensor) -> Tensor:
    """Measured k-space pairs of a zero-filled image.

    image [B, K, H, W]: K = 1 for a real image (its minimum-norm solution), else 2 x coils channels (Re, Im); un-centred mask
    [B or 1, 1, H, W] -> y [B, 2, H, W] or [B, 2 coils, H, W].
    """
    if image.shape[1] == 1:
        return RealMaskedFourier(mask).A(image)
    return mask * pairs_of(fft(complex_of(image)))


def zero_filled(y: Tensor, mask: Tensor) -> Tensor:
    """Magnitude [B, 1, H, W] of the image in which unmeasured k-space is zero; root sum of squares over coils."""
    return root_sum_of_squares(pairs_of(ifft(complex_of(mask * y))))


def forward_model(y: Tensor, mask: Tensor, real: bool) -> RealMaskedFourier | SenseFourier:
    """The operator that a reconstruction inverts, from the measured data alone; its `magnitude` is the image to show.

    A real image: masked Fourier with its conjugate symmetry. One coil: the image with its low-frequency phase taken off, so that
    it is nearly real and non-negative as the prior's training images are. Several coils: SENSE with maps estimated from the
    calibration lines, which carry that phase too; its pseudo-inverse is a few steps of conjugate gradients.
    """
    if real:
        return RealMaskedFourier(mask)
    return SenseFourier(mask, low_frequency_phase(y, mask) if y.shape[1] == 2 else estimate_maps(y, mask), CG_STEPS)

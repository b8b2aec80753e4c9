"""Masked Fourier operators of MRI: single coil, real image, and several coils with sensitivity maps.

Complex images and k-space are pairs of real channels (Re, Im), coil by coil: [B, 2 C, *S]. The FFT is orthonormal and UN-centred:
frequency 0 is the first element of each axis, in k-space and in the mask. Files hold centred k-space; `uncentre` brings a mask,
and `from_centred` a k-space, to this convention.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .base import LinearOperator, check_mask, damping


def complex_of(x: Tensor) -> Tensor:
    """Pairs [B, 2 C, *S] -> complex [B, C, *S]; ValueError for an odd number of channels."""
    if x.shape[1] % 2:
        raise ValueError(f"pairs (Re, Im) need an even number of channels, not {x.shape[1]}")
    return torch.complex(x[:, 0::2], x[:, 1::2])


def pairs_of(z: Tensor) -> Tensor:
    """Complex [B, C, *S] -> pairs [B, 2 C, *S]."""
    return torch.stack([z.real, z.imag], 2).flatten(1, 2)


def fft(z: Tensor) -> Tensor:
    """Orthonormal, un-centred FFT of complex or real [B, C, *S] over the spatial axes."""
    return torch.fft.fftn(z, dim=tuple(range(2, z.ndim)), norm="ortho")


def ifft(z: Tensor) -> Tensor:
    """The inverse (and adjoint) of `fft`."""
    return torch.fft.ifftn(z, dim=tuple(range(2, z.ndim)), norm="ortho")


def centre(x: Tensor, axes: Sequence[int] = (-2, -1)) -> Tensor:
    """Moves frequency 0 from the first element to element N // 2 of the axes."""
    return torch.fft.fftshift(x, dim=tuple(axes))


def uncentre(x: Tensor, axes: Sequence[int] = (-2, -1)) -> Tensor:
    """The inverse of `centre`, odd sizes included."""
    return torch.fft.ifftshift(x, dim=tuple(axes))


def fft_centred(image: Tensor, axes: Sequence[int] = (-2, -1)) -> Tensor:
    """Image -> k-space, both centred, orthonormal: the convention of fastMRI files."""
    return centre(torch.fft.fftn(uncentre(image, axes), dim=tuple(axes), norm="ortho"), axes)


def ifft_centred(kspace: Tensor, axes: Sequence[int] = (-2, -1)) -> Tensor:
    """The inverse of `fft_centred`."""
    return centre(torch.fft.ifftn(uncentre(kspace, axes), dim=tuple(axes), norm="ortho"), axes)


def from_centred(kspace: Tensor, axes: Sequence[int] = (-2, -1)) -> Tensor:
    """Centred complex k-space of a file -> the un-centred k-space `fft(image)` of the same image.

    A shift alone is not enough: the centred transform also takes the image's origin at its middle, a linear phase in k-space. It
    is divided out, so zeros stay exact zeros.
    """
    return uncentre(kspace, axes) * _origin_phase(kspace, axes).conj()


def to_centred(kspace: Tensor, axes: Sequence[int] = (-2, -1)) -> Tensor:
    """The inverse of `from_centred`."""
    return centre(kspace * _origin_phase(kspace, axes), axes)


def _origin_phase(kspace: Tensor, axes: Sequence[int]) -> Tensor:
    """exp(2 pi i k (N // 2) / N) along each axis, the spectrum of the shift that brings element N // 2 to the front."""
    phase = torch.ones((), dtype=torch.float64, device=kspace.device)
    for axis in axes:
        n = kspace.shape[axis]
        turns = torch.arange(n, dtype=torch.float64, device=kspace.device) * (n // 2) % n / n
        shape = [1] * kspace.ndim
        shape[axis] = n
        phase = phase * torch.polar(torch.ones_like(turns), 2 * math.pi * turns).reshape(shape)
    return phase.to(kspace.dtype)


def _sampling_mask(mask: Tensor) -> Tensor:
    value = check_mask(mask)
    if value.shape[1] != 1:
        raise ValueError(f"a k-space mask must be [B or 1, 1, *S], not {list(mask.shape)}")
    return value


class MaskedFourier(LinearOperator):
    """Single-coil MRI: x [B, 2, *S] -> M F x [B, 2, *S]; mask [B or 1, 1, *S] of 0 and 1, un-centred, else ValueError.

    A A^T = M, so the pseudo-inverse is the transpose (zero filling) and `solve` is a division in k-space.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", _sampling_mask(mask))

    def A(self, x: Tensor) -> Tensor:
        return self.mask * pairs_of(fft(complex_of(x)))

    def AT(self, y: Tensor) -> Tensor:
        return pairs_of(ifft(complex_of(self.mask * y)))

    def pinv(self, y: Tensor) -> Tensor:
        return self.AT(y)

    def solve(self, b: Tensor, lam: float | Tensor) -> Tensor:
        return pairs_of(ifft(fft(complex_of(b)) / (self.mask + damping(lam, b))))


class RealMaskedFourier(LinearOperator):
    """Single-coil MRI of a real image: x [B, 1, *S] -> M F x [B, 2, *S]; mask as for `MaskedFourier`.

    A real image has F x(-k) = conj F x(k), so A^T A = Re F^H M F is diagonal in k-space with weight (M(k) + M(-k)) / 2: a
    frequency is known when it or its mirror was measured. `pinv` and `solve` divide by that weight.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", _sampling_mask(mask))
        axes = tuple(range(2, mask.ndim))
        mirrored = self.mask.flip(axes).roll([1] * len(axes), axes)
        self.register_buffer("weight", (self.mask + mirrored) / 2)

    def A(self, x: Tensor) -> Tensor:
        return self.mask * pairs_of(fft(x))

    def AT(self, y: Tensor) -> Tensor:
        return ifft(complex_of(self.mask * y)).real

    def pinv(self, y: Tensor) -> Tensor:
        # where the mask is 1 the weight is at least 1/2; elsewhere the product is 0 whatever it is divided by
        return ifft(complex_of(self.mask * y) / self.weight.clamp(min=0.5)).real

    def solve(self, b: Tensor, lam: float | Tensor) -> Tensor:
        return ifft(fft(b) / (self.weight + damping(lam, b))).real

    def magnitude(self, x: Tensor) -> Tensor:
        """The image to show, [B, 1, *S]: x itself; what noise there is below zero belongs to the measured data."""
        return x


class SenseFourier(LinearOperator):
    """Parallel MRI: x [B, 2, *S] -> M F S x [B, 2 coils, *S] with maps S [B or 1, 2 coils, *S] (Pruessmann et al. 1999).

    mask [B or 1, 1, *S] of 0 and 1, un-centred, else ValueError. `pinv` and `solve` run CG, at most `steps` iterations or until
    the residual is below `tol`.
    """

    def __init__(self, mask: Tensor, maps: Tensor, steps: int = 100, tol: float = 1e-6) -> None:
        super().__init__()
        self.register_buffer("mask", _sampling_mask(mask))
        if maps.ndim != mask.ndim or any(m not in (1, s) for m, s in zip(mask.shape[2:], maps.shape[2:], strict=True)):
            raise ValueError(f"maps {list(maps.shape)} do not fit a mask {list(mask.shape)}; both need the image's size")
        # real storage, so that `.to(dtype)` keeps the imaginary part
        self.register_buffer("maps", torch.view_as_real(complex_of(maps)).contiguous())
        self.cg_steps, self.cg_tol = steps, tol

    def A(self, x: Tensor) -> Tensor:
        return self.mask * pairs_of(fft(torch.view_as_complex(self.maps) * complex_of(x)))

    def AT(self, y: Tensor) -> Tensor:
        images = ifft(complex_of(self.mask * y))
        return pairs_of((torch.view_as_complex(self.maps).conj() * images).sum(1, keepdim=True))

    def magnitude(self, x: Tensor) -> Tensor:
        """The image to show, [B, 1, *S]: the root sum of squares of the coil images S x, which fades out where the maps do."""
        return torch.linalg.vector_norm(torch.view_as_complex(self.maps) * complex_of(x), dim=1, keepdim=True)

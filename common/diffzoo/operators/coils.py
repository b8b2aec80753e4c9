"""Coil sensitivity maps and image phase from the calibration lines of undersampled k-space, never from the full data.

k-space and masks are un-centred and complex numbers are pairs of channels, as in `fourier`; 2D.
"""

import torch
from torch import Tensor

from .base import check_mask
from .fourier import centre, complex_of, ifft, pairs_of, uncentre

FEWEST = 4  # calibration lines an axis
WIDEST = 32  # lines used of a longer calibration axis: maps are smoother than that
NOISE = 0.02  # singular values of the calibration matrix below this part of the largest are left out
BACKGROUND = 0.01  # of the largest signal: where the coils see less, the maps fade out
ROUNDS = 15  # of the power iteration

Block = tuple[slice, slice]


def calibration_region(mask: Tensor) -> Block:
    """The largest fully sampled block about the centre of an un-centred mask [..., H, W], as slices of the CENTRED k-space.

    Leading axes must be of length 1. Raises ValueError when the block has fewer than 4 lines along either axis.
    """
    grid = centre(mask.reshape(mask.shape[-2:]))
    for axis, n in enumerate(grid.shape):  # lines in the order of frequency 0, -1, 1, -2, ...: blocks become prefixes
        order = (torch.arange(n, device=grid.device) - n // 2 + 0.25).abs().argsort()
        grid = grid.index_select(axis, order)
    full = grid.double().cumprod(0).cumprod(1)
    rows, columns = (torch.arange(1, n + 1, device=grid.device) for n in grid.shape)
    best = int((full * rows[:, None] * columns).argmax())
    height, width = (best // len(columns) + 1, best % len(columns) + 1) if full[0, 0] else (0, 0)
    if min(height, width) < FEWEST:
        raise ValueError(
            f"k-space is fully sampled over {height} x {width} lines only about its centre; calibration needs {FEWEST} x {FEWEST}"
        )
    return _about_centre(len(rows), height), _about_centre(len(columns), width)


def _about_centre(n: int, size: int) -> slice:
    start = n // 2 - size // 2
    return slice(start, start + size)


def _calibration_blocks(mask: Tensor, kspace: Tensor) -> list[Block]:
    """The block used for each item of k-space [B, 2 C, H, W] under mask [B or 1, 1, H, W], no axis longer than `WIDEST` lines."""
    if mask.shape[2:] != kspace.shape[2:] or len(mask) not in (1, len(kspace)):
        raise ValueError(f"a mask {list(mask.shape)} does not fit k-space {list(kspace.shape)}")
    blocks = []
    for item in check_mask(mask):
        sides = zip(calibration_region(item), item.shape[-2:], strict=True)
        blocks.append(tuple(_about_centre(n, min(side.stop - side.start, WIDEST)) for side, n in sides))
    return blocks * len(kspace) if len(blocks) == 1 else blocks


def root_sum_of_squares(images: Tensor) -> Tensor:
    """Coil images [B, 2 C, *S] -> magnitude [B, 1, *S]."""
    return images.square().sum(1, keepdim=True).sqrt()


def combine(images: Tensor, maps: Tensor) -> Tensor:
    """Coil images [B, 2 C, *S] and maps [B or 1, 2 C, *S] -> sum_c conj(S_c) I_c, [B, 2, *S] (adjoint SENSE)."""
    return pairs_of((complex_of(maps).conj() * complex_of(images)).sum(1, keepdim=True))


def low_resolution(kspace: Tensor, mask: Tensor) -> Tensor:
    """Images [B, 2 C, H, W] of the Hann-windowed calibration block of k-space [B, 2 C, H, W] under mask [B or 1, 1, H, W].

    Raises ValueError as `calibration_region` does.
    """
    windows = [
        _hann(kspace, -2, rows)[:, None] * _hann(kspace, -1, columns) for rows, columns in _calibration_blocks(mask, kspace)
    ]
    return pairs_of(ifft(complex_of(kspace) * uncentre(torch.stack(windows))[:, None]))


def _hann(like: Tensor, axis: int, block: slice) -> Tensor:
    """Hann window over an axis of `like`, positive on the block and 0 elsewhere, largest at frequency 0."""
    n, size = like.shape[axis], block.stop - block.start
    offset = torch.arange(n, dtype=like.dtype, device=like.device) - n // 2
    window = torch.cos(torch.pi * offset / (2 * (size // 2 + 1))) ** 2
    return window * ((offset >= block.start - n // 2) & (offset < block.stop - n // 2))


def low_frequency_phase(kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
    """Phase of each calibration image, as pairs of modulus 1 [B, 2 C, H, W]; with maps, of the combined one [B, 2, H, W].

    kspace [B, 2 C, H, W], mask [B or 1, 1, H, W], maps [B or 1, 2 C, H, W]. An image multiplied by its conjugate is nearly real
    and non-negative, which a prior of magnitude images wants. Raises ValueError as `calibration_region` does.
    """
    low = low_resolution(kspace, mask)
    z = complex_of(low if maps is None else combine(low, maps))
    size = z.abs()
    return pairs_of(torch.where(size > 0, z / torch.where(size > 0, size, 1), 1))


def estimate_maps(kspace: Tensor, mask: Tensor) -> Tensor:
    """Sensitivity maps [B, 2 C, H, W] from k-space [B, 2 C, H, W] under mask [B or 1, 1, H, W] (ESPIRiT, Uecker et al. 2014).

    sum_c |S_c|^2 is 1 where the coils see signal and falls towards 0 in empty background, so |S| |x| is the image to show. The
    maps carry the image's low-frequency phase too: the combined calibration image is real and non-negative, so what SENSE finds
    with them is magnitude-like. Raises ValueError as `calibration_region` does, or when mask and k-space differ in size.
    """
    low = complex_of(low_resolution(kspace, mask))
    spectrum = centre(complex_of(kspace))
    items = zip(spectrum, low, _calibration_blocks(mask, kspace), strict=True)
    maps = torch.stack([_principal(_projector(k[:, rows, columns]), start) for k, start, (rows, columns) in items])
    inner = (maps.conj() * low).sum(1, keepdim=True)
    signal = root_sum_of_squares(pairs_of(low))
    floor = BACKGROUND * signal.amax((-2, -1), keepdim=True)
    fade = signal / torch.hypot(signal, floor).clamp(min=torch.finfo(signal.dtype).tiny)
    return pairs_of(maps * torch.where(inner != 0, inner.sgn(), 1)) * fade


def _projector(block: Tensor) -> Tensor:
    """Projector on the span of all k x k patches of a calibration block [C, h, w], as [C, k, k, C, k, k].

    k is a third of the block's shorter side, 6 at most: the best of those tried at 9 to 28 calibration lines.
    """
    coils, *sides = block.shape
    k = min(6, min(sides) // 3 + 1)
    patches = block.unfold(1, k, 1).unfold(2, k, 1).permute(0, 3, 4, 1, 2).reshape(coils * k * k, -1)
    values, vectors = torch.linalg.eigh(patches @ patches.mH)
    basis = vectors[:, values > NOISE**2 * values[-1]]
    return (basis @ basis.mH).reshape(coils, k, k, coils, k, k)


def _principal(projector: Tensor, start: Tensor) -> Tensor:
    """Unit eigenvector [C, H, W] of the projector's image-space form, by power iteration from coil images `start` [C, H, W].

    Averaged over the patches that share a sample, the projector is a convolution of k-space, so a C x C matrix in each pixel,
    whose eigenvector of eigenvalue 1 is the sensitivity there.
    """
    coils, k = projector.shape[:2]
    kernel = start.new_zeros(coils, coils, *start.shape[1:])
    for j in range(k):
        for i in range(k):
            kernel[:, :, k - 1 - j : 2 * k - 1 - j, k - 1 - i : 2 * k - 1 - i] += projector[:, j, i] / k**2
    matrix = torch.fft.fftn(kernel.roll((1 - k, 1 - k), (2, 3)), dim=(2, 3)).permute(2, 3, 0, 1).contiguous()
    vector = start.permute(1, 2, 0)[..., None].contiguous()
    for _ in range(ROUNDS):
        vector = matrix @ vector
        vector = vector / torch.linalg.vector_norm(vector, dim=2, keepdim=True).clamp(min=torch.finfo(start.real.dtype).tiny)
    return vector[..., 0].permute(2, 0, 1)

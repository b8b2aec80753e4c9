"""Filtered backprojection over any arc."""

import torch
from torch import Tensor

from .radon import Radon


def fbp(op: Radon, y: Tensor, filter: str = "ramp") -> Tensor:
    """Filtered backprojection of a sinogram [B, C, views, detectors] to [B, C, H, W], zero outside the field of view.

    Views are filtered by the band-limited ramp (Kak & Slaney 1988, eq. 3.61; fan beams as in section 3.4.2), which "hann" tapers
    to zero at the highest frequency, and interpolated linearly at each pixel. A view counts by the angle it stands for
    (`beams.angle_weights`), so a limited arc is backprojected as measured, and an arc beyond half a turn does not count twice.
    Raises ValueError for another filter, or a sinogram of another size.
    """
    beam = op.beam
    if y.ndim != 4 or y.shape[2:] != (len(beam.angles), beam.detectors):
        raise ValueError(f"a sinogram must be [B, C, {len(beam.angles)}, {beam.detectors}], not {list(y.shape)}")
    filtered = _filter(y * beam.weights().to(y), beam.central_spacing, filter)
    table = filtered.flatten(0, 1).permute(1, 2, 0).contiguous()  # [V, detectors, B C]
    inside = (op.field_of_view[0, 0] > 0).flatten()
    points = _centres(op)[inside].to(y.device)
    image = torch.zeros(len(inside), table.shape[2], dtype=y.dtype, device=y.device)
    total = torch.zeros(len(points), table.shape[2], dtype=y.dtype, device=y.device)
    for view, row in enumerate(table):
        place, weight = beam.locate(points, view)
        lower = place.floor().long().clamp(0, beam.detectors - 1)
        upper = (lower + 1).clamp(max=beam.detectors - 1)
        part = (place - lower).to(y.dtype)[:, None]
        value = torch.lerp(row.index_select(0, lower), row.index_select(0, upper), part)
        total += value * weight.to(y.dtype)[:, None]
    image = image.index_copy(0, inside.nonzero()[:, 0], total)
    return image.mT.reshape(*y.shape[:2], *op.shape)


def fbp_by_transpose(op: Radon, y: Tensor, filter: str = "ramp") -> Tensor:
    """`fbp` of a parallel beam with the stored transpose in place of interpolation: as near to the truth, and faster in batches.

    Fan beams, whose views are weighted pixel by pixel, go by `fbp`.
    """
    beam = op.beam
    if beam.weighs_pixels:
        return fbp(op, y, filter)
    filtered = _filter(y * beam.weights().to(y), beam.central_spacing, filter)
    return op.AT(filtered) * (beam.detector_spacing / (op.pixel[0] * op.pixel[1]))


def _centres(op: Radon) -> Tensor:
    """Centres (mm) of the pixels, float64 [H W, 2]."""
    axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * side for n, side in zip(op.shape, op.pixel, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 1)


def _filter(y: Tensor, spacing: float, name: str) -> Tensor:
    """Views [..., detectors] convolved with the ramp of bins `spacing` mm apart; zero padding keeps the convolution linear."""
    if name not in ("ramp", "hann"):
        raise ValueError(f'the filter must be "ramp" or "hann", not "{name}"')
    n = y.shape[-1]
    length = 1 << (2 * n - 1).bit_length()
    k = torch.arange(length, dtype=torch.float64)
    k = torch.minimum(k, length - k)
    kernel = torch.where(k % 2 == 1, -1 / (torch.pi * k).square(), 0.0)
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real / spacing
    if name == "hann":
        response = response * (1 + torch.cos(torch.pi * torch.arange(len(response)) / (len(response) - 1))) / 2
    return torch.fft.irfft(torch.fft.rfft(y, length) * response.to(y), length)[..., :n]

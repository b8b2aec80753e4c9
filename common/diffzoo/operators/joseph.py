"""Joseph's weights of rays through an image: linear interpolation across the image's axis that a ray runs along the most.

A ray meets each line of pixels of that axis once, between two pixels, and takes the length of its way from line to line times
the value interpolated there (Joseph 1982). The two weights of each meeting fill one row of a sparse matrix.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def weights(points: Tensor, directions: Tensor, shape: Sequence[int], pixel: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Rays [R, 2] (float64, mm) through an image [H, W] -> flat pixel numbers (int32) and weights (float32, mm) of each ray.

    Both are [R, 2 max(H, W)]; a weight is 0, and its pixel number any, where a ray misses the image.
    """
    height, width = shape
    main = _main(directions, pixel)

    def split(pair: Tensor) -> tuple[Tensor, Tensor]:  # of the axis that a ray runs along and of the other one, [R, 1] each
        pair = pair.to(points.device).expand(len(main), 2)
        return pair.gather(1, main), pair.gather(1, 1 - main)

    (p0, p1), (d0, d1), (s0, s1) = split(points), split(directions), split(torch.tensor(pixel, dtype=torch.float64))
    (n0, n1), (stride0, stride1) = (split(torch.tensor(pair, dtype=torch.int32)) for pair in ((height, width), (width, 1)))
    line = torch.arange(max(height, width), dtype=torch.int32, device=points.device)
    slope = s0 * d1 / (d0 * s1)
    start = (p1 - p0 * d1 / d0) / s1 + (n1 - 1) / 2 - (n0 - 1) / 2 * slope
    place = torch.addcmul(start, slope, line.double())  # where the rays meet the lines, in pixels of the other axis, [R, lines]
    place = torch.where(line < n0, place, -2.0).clamp_(-2, max(height, width))
    lower = place.floor()
    length = (s0 / d0.abs()).float()
    second = (place - lower).float() * length
    index = lower.int()
    column = index * stride1 + line * stride0
    hits = (index >= 0) & (index < n1), (index >= -1) & (index < n1 - 1)
    columns = [torch.where(hit, number, 0) for hit, number in zip(hits, (column, column + stride1), strict=True)]
    values = [torch.where(hit, value, 0) for hit, value in zip(hits, (length - second, second), strict=True)]
    return torch.stack(columns, -1).flatten(1), torch.stack(values, -1).flatten(1)


def _main(directions: Tensor, pixel: Sequence[float]) -> Tensor:
    """The axis, 0 or 1, along which each ray [R, 2] advances the most pixels, [R, 1]."""
    return (directions.abs() / directions.new_tensor(pixel)).argmax(1, keepdim=True)


def most_weights(points: Tensor, directions: Tensor, shape: Sequence[int], pixel: Sequence[float], radius: float) -> int:
    """How many weights of rays [R, 2] can differ from 0 for the pixels within `radius` (mm); 10 % high at 128 x 128 pixels."""
    size = directions.new_tensor(pixel)
    steep = torch.where(directions.abs() < 1e-12, 1e-12, directions)
    half = (directions.new_tensor(shape) + 1) / 2 * size  # half a pixel beyond the border: interpolation reaches a pixel out
    low, high = ((side * half * steep.sign() - points) / steep for side in (-1, 1))
    middle = -(points * directions).sum(1)
    reach = ((radius + max(pixel)) ** 2 - (points + middle[:, None] * directions).square().sum(1)).clamp(min=0).sqrt()
    way = torch.minimum(high.amin(1), middle + reach) - torch.maximum(low.amax(1), middle - reach)
    steps = way * (directions.abs() / size).amax(1) + 1
    return int(2 * steps[way > 0].sum())

"""X-ray transform of 2D images in parallel and fan beams, with the exact transpose: line integrals by Joseph's method.

The geometry, and how it lies to the axes of an image, is told in `beams`.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .base import LinearOperator
from .beams import Beam
from .joseph import most_weights, weights

CHUNK = 2**18  # about how many weights are computed at once: they fit a processor's cache
LARGEST = 2**31 - 1  # weights that 32-bit numbers can count
BYTES = 16  # a weight and its column, in the matrix and in its transpose


class Radon(LinearOperator):
    """Line integrals (value x mm) of an image: A takes [B, C, H, W] to [B, C, views, detectors], AT is its exact transpose.

    Each ray's weights are a row of one sparse matrix, which is stored together with its transpose; where the two might take more
    than `max_bytes`, the same rows are computed a few views at a time in each call instead (about 20 times slower in batches).
    `pixel` is the size (mm) of a pixel along axis 0 and axis 1. Pixels whose centre lies outside the circle that all views see
    are left out: A ignores them and AT gives 0 there (`field_of_view` [1, 1, H, W] is 1 for the others). Raises ValueError for a
    shape, pixel or tensor that does not fit.
    """

    def __init__(self, beam: Beam, shape: Sequence[int], pixel: Sequence[float] = (1.0, 1.0), max_bytes: int = 2**30) -> None:
        super().__init__()
        self.beam, self.shape, self.pixel = beam, tuple(shape), tuple(pixel)
        self.register_buffer("field_of_view", _field(beam, self.shape, self.pixel), persistent=False)
        count = most_weights(*beam.rays(slice(None)), self.shape, self.pixel, beam.field_radius)
        stored = count * BYTES <= max_bytes and count <= LARGEST
        self.matrix, self.transpose = _stored_pair(self) if stored else (None, None)

    def A(self, x: Tensor) -> Tensor:
        _check(x, "an image", self.shape, self.field_of_view.dtype)
        y = _Linear.apply(x.flatten(2).flatten(0, 1).mT.contiguous(), self._project, self._backproject)
        return y.mT.reshape(*x.shape[:2], len(self.beam.angles), self.beam.detectors)

    def AT(self, y: Tensor) -> Tensor:
        _check(y, "a sinogram", (len(self.beam.angles), self.beam.detectors), self.field_of_view.dtype)
        x = _Linear.apply(y.flatten(2).flatten(0, 1).mT.contiguous(), self._backproject, self._project)
        return x.mT.reshape(*y.shape[:2], *self.shape)

    def _project(self, x: Tensor) -> Tensor:
        """[pixels, n] -> [rays, n]."""
        if self.matrix is not None:
            return self.matrix(x)
        seen = x * self.field_of_view.reshape(-1, 1)
        return torch.cat([_rows(column, value.to(x.dtype), len(x))(seen) for column, value in self._chunks()])

    def _backproject(self, y: Tensor) -> Tensor:
        """[rays, n] -> [pixels, n]."""
        if self.transpose is not None:
            return self.transpose(y)
        images = y.new_zeros(y.shape[1], self.field_of_view.numel())
        first = 0
        for column, value in self._chunks():
            rays, to = y[first : first + len(column)].mT, column.flatten().long()
            for image, ray in zip(images, rays, strict=True):
                image.scatter_add_(0, to, (ray[:, None] * value.to(y.dtype)).flatten())
            first += len(column)
        return images.mT * self.field_of_view.reshape(-1, 1)

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pixel numbers and weights of the rays of a few views at a time, for pixels in and out of the field of view."""
        step = max(1, CHUNK // (2 * self.beam.detectors * max(self.shape)))
        for first in range(0, len(self.beam.angles), step):
            rays = (values.to(self.field_of_view.device) for values in self.beam.rays(slice(first, first + step)))
            yield weights(*rays, self.shape, self.pixel)


class _Linear(torch.autograd.Function):
    """apply(x), with adjoint for the gradient; autocast leaves both alone, since sparse products want full precision."""

    @staticmethod
    def forward(ctx, x: Tensor, apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pair = apply, adjoint
        with torch.autocast(x.device.type, enabled=False):
            return apply(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        apply, adjoint = ctx.pair
        return _Linear.apply(gradient.contiguous(), adjoint, apply), None, None


def _check(x: Tensor, what: str, size: Sequence[int], dtype: torch.dtype) -> None:
    if x.ndim != 4 or tuple(x.shape[2:]) != tuple(size):
        raise ValueError(f"{what} must be [B, C, {size[0]}, {size[1]}] here, not {list(x.shape)}")
    if x.dtype != dtype:
        raise ValueError(f"{what} of {x.dtype} meets an operator of {dtype}; convert one of them with .to({x.dtype})")


def _field(beam: Beam, shape: Sequence[int], pixel: Sequence[float]) -> Tensor:
    """1 for the pixels whose centre lies within the circle that every view sees, else 0, [1, 1, H, W]."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"the shape must be (H, W), not {tuple(shape)}")
    if len(pixel) != 2 or not min(pixel) > 0:
        raise ValueError(f"pixel must be two positive sizes (mm), not {tuple(pixel)}")
    x, y = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * side for n, side in zip(shape, pixel, strict=True))
    inside = torch.hypot(x[:, None], y[None, :]) <= beam.field_radius * (1 + 1e-9)
    if not inside.any():
        raise ValueError(
            f"no pixel of the image {tuple(shape)} is seen in every view; give the detector more bins or less offset"
        )
    return inside[None, None].float()


def _stored_pair(op: Radon) -> tuple["_Sparse", "_Sparse"]:
    """The matrix of the operator and its transpose."""
    inside, parts = op.field_of_view.flatten() > 0, []
    for column, value in op._chunks():
        column, order = column.sort(dim=1)
        value = value.gather(1, order)
        used = (value > 0) & inside[column]
        parts.append((used.sum(1), column[used], value[used]))
    counts, column, value = (torch.cat(part) for part in zip(*parts, strict=True))
    ray = torch.arange(len(counts), dtype=torch.int32).repeat_interleave(counts)
    order = column.argsort(stable=True)
    pixels = op.field_of_view.numel()
    back = _Sparse(torch.bincount(column, minlength=pixels), ray[order], value[order], len(counts))
    return _Sparse(counts, column, value, pixels), back


def _rows(column: Tensor, value: Tensor, width: int) -> "_Sparse":
    """The matrix [R, width] of the weights [R, E] of each ray."""
    return _Sparse(torch.full((len(column),), column.shape[1], device=column.device), column.flatten(), value.flatten(), width)


class _Sparse(nn.Module):
    """A CSR matrix [R, width] with 32-bit indices, from the number of entries of each row [R], and all columns and values.

    Its parts are the buffers, since torch neither copies nor shares a sparse tensor as it does others.
    """

    def __init__(self, counts: Tensor, columns: Tensor, values: Tensor, width: int) -> None:
        super().__init__()
        self.size = len(counts), width
        self.register_buffer("starts", nn.functional.pad(counts.cumsum(0), (1, 0)).int(), persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("values", values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The product with x [width, n]; a single column is twice as fast as a vector."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            matrix = torch.sparse_csr_tensor(self.starts, self.columns, self.values, self.size, check_invariants=False)
        return (matrix @ x[:, 0])[:, None] if x.shape[1] == 1 else matrix @ x

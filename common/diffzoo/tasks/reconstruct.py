"""Reconstruction of a stack of slices from undersampled k-space with a diffusion prior."""

import math
import time
from collections.abc import Callable, Sequence

import torch
from monai.inferers import Inferer
from monai.networks.layers import GaussianFilter
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.operators.coils import root_sum_of_squares
from diffzoo.operators.fourier import RealMaskedFourier, SenseFourier, uncentre
from diffzoo.spaces import channelwise
from diffzoo.tasks.coilwise import fold_coils, hybrid, unfold_coils
from diffzoo.tasks.measured import forward_model, kspace_of, plain
from diffzoo.tasks.solver import Solver

BASE_BYTES = 0.7e9  # Python with torch and MONAI; this and the two below are fitted to tools/benchmark.py
VOXEL_BYTES = 60.0  # copies of the volume on its way
PIXEL_BYTES = 500.0  # activations of the network

Progress = Callable[[int, int], None]  # (steps done, steps in all)


class Reconstruct(Inferer):
    """inferer(image, network, mask, slice_index) -> reconstruction, and its spread where samples > 1.

    image [1, K, H, W, D]: zero-filled slices, K = 1 real or 2 x coils (Re, Im); mask [1, 1, H, W]: centred sampling mask of all
    slices; slice_index [1, D]: numbers of the slices, which seed their noise. Returns [1, 1 or 2, H, W, D]: the magnitude that
    `solver` finds (with several coils their root sum of squares) and, with samples > 1, the standard deviation of that many draws
    of `posterior`, variances pooled over `std_smoothing` pixels. `coils` says how several coils are treated: "sense", "ssos"
    (each for itself) or "hybrid" (ssos with SENSE steps between).
    `stats` tells of the latest call: seconds, network_calls (a slice and draw, an item of a batch counted as one), data_residual
    |A x - y| / |y| (with SENSE it includes what the estimated coil maps cannot explain).
    """

    def __init__(
        self,
        precond: Precond,
        solver: Solver,
        posterior: Solver | None = None,
        samples: int = 1,
        std_smoothing: float = 0.0,
        coils: str = "sense",
        seed: int = 0,
        slice_batch: int = 8,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if samples < 1 or slice_batch < 1:
            raise ValueError(f"samples and slice_batch must be at least 1, not {samples} and {slice_batch}")
        if samples > 1 and posterior is None:
            raise ValueError("samples > 1 needs a posterior solver")
        if coils not in ("sense", "ssos", "hybrid"):
            raise ValueError(f"coils must be 'sense', 'ssos' or 'hybrid', not {coils!r}")
        self.precond, self.solver, self.posterior, self.samples = precond, solver, posterior, samples
        self.std_smoothing, self.coils, self.seed, self.slice_batch = std_smoothing, coils, seed, slice_batch
        self.autocast, self.progress, self.stats = autocast, progress, {}

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        calls = f"{self._steps()} steps a slice"
        return calls if self.samples == 1 else f"{calls} (image and {self.samples} posterior draws)"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a scan of this stored shape ([.., H, W, D] or k-space [D, C, H, W]) is expected to take at the most."""
        voxels, largest = math.prod(shape), sorted(shape)[-1] * sorted(shape)[-2]
        return BASE_BYTES + VOXEL_BYTES * voxels + PIXEL_BYTES * largest * self.slice_batch

    @property
    def draws(self) -> int:
        """Chains a slice: the reconstruction, and the posterior draws where there are several."""
        return 1 if self.samples == 1 else 1 + self.samples

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: nn.Module, mask: Tensor, slice_index: Tensor | None = None) -> Tensor:
        started = time.perf_counter()
        image, mask = plain(inputs)[0].movedim(-1, 0), uncentre(plain(mask)).to(inputs.device)
        index = range(len(image)) if slice_index is None else [int(i) for i in plain(slice_index).flatten()]
        denoiser = Denoiser(network, self.precond, self.autocast)
        counter = _Counter(self.progress, self._steps() * -(-len(image) // self.slice_batch))
        done, residuals = [], []
        for start in range(0, len(image), self.slice_batch):
            batch = slice(start, start + self.slice_batch)
            slices, residual = self._slices(denoiser, image[batch], mask, list(index)[batch], counter)
            done.append(slices)
            residuals.append(residual)
        self.stats = {
            "seconds": time.perf_counter() - started,
            "network_calls": denoiser.calls / (len(image) * self.draws),
            "data_residual": float(torch.cat(residuals).max()),
        }
        return torch.cat(done).movedim(0, -1)[None]

    def _slices(
        self, denoiser: Denoiser, image: Tensor, mask: Tensor, index: list[int], counter: "_Counter"
    ) -> tuple[Tensor, Tensor]:
        """Slices [B, K, H, W] -> [B, 1 or 2, H, W], and the relative data residual of each [B]."""
        real, y = image.shape[1] == 1, kspace_of(image, mask)
        solve, op = self._problem(channelwise(denoiser.bind()), y, mask, real, counter)
        x = solve(self.solver, [stream(self.seed, i, 0) for i in index])
        residual = (op.A(x) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1).clamp(min=1e-12)
        found = [op.magnitude(x)]
        if self.samples > 1:
            draws = [
                op.magnitude(solve(self.posterior, [stream(self.seed, i, k) for i in index])) for k in range(1, self.samples + 1)
            ]
            found.append(spread(torch.stack(draws), self.std_smoothing))
        return torch.cat(found, 1), residual

    def _problem(
        self, denoise: Denoise, y: Tensor, mask: Tensor, real: bool, counter: "_Counter"
    ) -> "tuple[Callable[[Solver, list[int]], Tensor], RealMaskedFourier | SenseFourier | _CoilImages]":
        """How to solve for these slices, and the operator that gives the data and the magnitude of a solution."""
        if real or y.shape[1] == 2 or self.coils == "sense":
            op = forward_model(y, mask, real)
            return lambda solver, seeds: solver(denoise, op, y, Gaussian(seeds), counter), op
        folded = fold_coils(y)
        op = forward_model(folded, mask, real=False)

        def solve(solver: Solver, seeds: list[int]) -> Tensor:
            noise = Gaussian([stream(seed, c) for seed in seeds for c in range(y.shape[1] // 2)])
            chosen = hybrid(solver, y, mask, op) if self.coils == "hybrid" else solver
            return unfold_coils(chosen(denoise, op, folded, noise, counter), y.shape[1] // 2)

        return solve, _CoilImages(op, y.shape[1] // 2)

    def _steps(self) -> int:
        steps = len(self.solver.sigmas) - 1
        return steps if self.samples == 1 else steps + self.samples * (len(self.posterior.sigmas) - 1)


def spread(draws: Tensor, smoothing: float) -> Tensor:
    """Standard deviation [B, 1, H, W] of draws [K, B, 1, H, W], the variance averaged under a Gaussian of `smoothing` pixels.

    The variance of a few draws is itself noisy (27 % for 8); neighbours share the work.
    """
    variance = draws.var(0)
    if smoothing > 0:
        pool = GaussianFilter(spatial_dims=2, sigma=smoothing)
        variance = pool(variance) / pool(torch.ones_like(variance))  # the filter pads with zeros
    return variance.clamp(min=0).sqrt()


class _CoilImages:
    """An operator on folded coils [B C, 2, H, W], seen from the coils side by side [B, 2 C, H, W]."""

    def __init__(self, op: SenseFourier, coils: int) -> None:
        self.op, self.coils = op, coils

    def A(self, x: Tensor) -> Tensor:
        return unfold_coils(self.op.A(fold_coils(x)), self.coils)

    def magnitude(self, x: Tensor) -> Tensor:
        return root_sum_of_squares(x)


class _Counter:
    """A sampler callback that counts steps for a progress display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, i: int, sigma: float, x: Tensor, x0: Tensor) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)

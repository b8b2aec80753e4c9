"""Reconstruction of a stack of slices from measured data with a diffusion prior, whatever was measured."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.geometry import plain
from diffzoo.tasks.progress import Counter, Progress
from diffzoo.tasks.reconstruction.solver import Solver
from diffzoo.tasks.slices import Part, SliceInferer

BASE_BYTES = 0.7e9  # Python with torch and MONAI; this and the two below are fitted to tools/benchmark.py
VOXEL_BYTES = 60.0  # copies of the volume on its way
PIXEL_BYTES = 500.0  # activations of the network
STATE_BYTES = 60.0  # of a pixel of each draw that goes together with others
TOGETHER = 32  # images of draws that are solved at once: a sparse operator is then at its best, and memory still small


@dataclass(frozen=True)
class Posed:
    """The inverse problem of a batch of slices, ready to be solved.

    y [B, *M]: the data; A: from a solution x to its data; solve(solver, seeds, callback) -> x, one seed a slice; image: from x to
    the picture [B, 1, H, W]; judge: from draws of the picture [K, B, 1, H, W] to figures of each slice [B], by name;
    together: whether solve also takes the seeds of several draws, slices of the first before those of the second.
    """

    y: Tensor
    A: Callable[[Tensor], Tensor]
    solve: Callable[[Solver, Sequence[int], Callback | None], Tensor]
    image: Callable[[Tensor], Tensor]
    judge: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    together: bool = False


class Problem(Protocol):
    """What was measured: see `tasks.reconstruct_mri.kspace.KSpace` and `tasks.reconstruct_ct.tomography.Tomography`."""

    conditions: tuple[str, ...]  # items of a case that it takes beside the image

    def __call__(self, denoiser: Denoiser, image: Tensor, rows: Sequence[int], data: Mapping[str, Tensor]) -> Posed:
        """Poses the slices image[rows] of a case, image [D, K, H, W]; data: the other inputs of the case, as they came."""

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that the operator takes for a scan of this stored shape."""


class Reconstruct(SliceInferer):
    """inferer(image, network, slice_index, **data) -> reconstruction, and its spread where samples > 1.

    image [1, K, H, W, D]: first images of the slices; data: what `problem` takes beside them; slice_index [1, D]: numbers of the
    slices, which seed their noise. Returns [1, 1 or 2, H, W, D]: the image that `solver` finds, the mean of `average` runs, and
    with samples > 1 the standard deviation of that many draws of `posterior`, variances pooled over `std_smoothing` pixels,
    times `std_factor`, which is fitted on validation.
    `stats` tells of the latest call: seconds, network_calls (of a slice's image, one an item),
    data_residual |A x - y| / |y| (the largest of a slice), and figures: the means of what the problem judges of the draws.
    """

    def __init__(
        self,
        problem: Problem,
        precond: Precond,
        solver: Solver,
        posterior: Solver | None = None,
        average: int = 1,
        samples: int = 1,
        std_smoothing: float = 0.0,
        std_factor: float = 1.0,
        seed: int = 0,
        slice_batch: int = 8,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if min(average, samples, slice_batch) < 1:
            raise ValueError(f"average, samples and slice_batch must be at least 1, not {average}, {samples} and {slice_batch}")
        if samples > 1 and posterior is None:
            raise ValueError("samples > 1 needs a posterior solver")
        self.problem, self.precond, self.solver, self.posterior = problem, precond, solver, posterior
        self.average, self.samples, self.std_smoothing, self.std_factor = average, samples, std_smoothing, std_factor
        self.seed, self.slice_batch = seed, slice_batch
        self.autocast, self.progress, self.stats = autocast, progress, {}

    @property
    def conditions(self) -> tuple[str, ...]:
        """Items of a case that it takes beside the image."""
        return (*self.problem.conditions, "slice_index")

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        calls = f"{self._steps()} steps a slice"
        return calls if self.samples == 1 else f"{calls} (image and {self.samples} posterior draws)"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a scan of this stored shape ([.., H, W, D] or raw data) is expected to take at the most."""
        voxels, largest = math.prod(shape), sorted(shape)[-1] * sorted(shape)[-2]
        scan = VOXEL_BYTES * voxels + self.problem.memory(shape)
        draws = min(TOGETHER, max(self.samples, self.average) * self.slice_batch)
        return BASE_BYTES + scan + (PIXEL_BYTES * self.slice_batch + STATE_BYTES * draws) * largest

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: nn.Module, slice_index: Tensor | None = None, **data: Tensor) -> Tensor:
        started = time.perf_counter()
        image = plain(inputs)[0].movedim(-1, 0)
        slice_index, batches = torch.arange(len(image))[None] if slice_index is None else slice_index, self._batches(image)
        parts = self.parts(network, {"image": inputs, "slice_index": slice_index, **data}, batches, self._steps())
        volume = image.new_zeros(len(image), 1 + (self.samples > 1), *image.shape[2:])
        for rows, (found, _) in zip(batches, parts, strict=True):
            volume[rows] = found
        figures = {key: torch.cat([told[key] for _, told in parts]) for key in parts[0][1]}
        self.stats = {
            "seconds": time.perf_counter() - started,
            "network_calls": int(figures.pop("calls").sum()) / len(image),
            "data_residual": float(figures.pop("data_residual").max()),
            "figures": {key: float(values.mean()) for key, values in figures.items()},
        }
        return volume.movedim(0, -1)[None]

    def part(self, network: nn.Module, given: Mapping[str, Tensor], rows: Sequence[int], counter: Counter) -> Part:
        """Images [B, 1 or 2, H, W] of slices, and figures: data_residual and what the problem judges [B], calls [1]."""
        image, numbers = plain(given["image"])[0].movedim(-1, 0), plain(given["slice_index"]).flatten().tolist()
        denoiser = Denoiser(network, self.precond, self.autocast)
        posed = self.problem(denoiser, image, rows, given)
        return self._slices(posed, denoiser, [int(numbers[k]) for k in rows], counter)

    def _batches(self, image: Tensor) -> list[list[int]]:
        """Numbers of the slices that are worked on together; those whose first image is 0 everywhere are left as they are."""
        rows = [k for k, slice_ in enumerate(image) if slice_.any()] or [0]
        return [rows[k : k + self.slice_batch] for k in range(0, len(rows), self.slice_batch)]

    def _slices(self, posed: Posed, denoiser: Denoiser, index: list[int], counter: Counter) -> Part:
        """A batch of slices -> [B, 1 or 2, H, W], figures of each [B], and the calls [1] that their images took, draws aside."""
        seeds = [[stream(self.seed, i, 0, *[k] * (k > 0)) for i in index] for k in range(self.average)]
        x = sum(self._solved(posed, self.solver, seeds, counter)) / self.average
        misfit = (posed.A(x) - posed.y).flatten(1).norm(dim=1) / posed.y.flatten(1).norm(dim=1).clamp(min=1e-12)
        images, figures = [posed.image(x)], {"data_residual": misfit, "calls": torch.tensor([denoiser.calls])}
        if self.samples > 1:
            seeds = [[stream(self.seed, i, k) for i in index] for k in range(1, self.samples + 1)]
            draws = torch.stack([posed.image(x) for x in self._solved(posed, self.posterior, seeds, counter)])
            images.append(self.std_factor * spread(draws, self.std_smoothing))
            figures |= posed.judge(draws) if posed.judge else {}
        return torch.cat(images, 1), figures

    @staticmethod
    def _solved(posed: Posed, solver: Solver, seeds: Sequence[Sequence[int]], counter: Counter) -> list[Tensor]:
        """A solution of the batch for each list of seeds, one a slice; those that may go together do."""
        size, solutions = len(seeds[0]), []
        most = max(1, TOGETHER // size) if posed.together else 1
        for k in range(0, len(seeds), most):
            group = seeds[k : k + most]
            x = posed.solve(solver, [seed for own in group for seed in own], counter.of(len(group)))
            solutions += x.split(len(posed.y))
        return solutions

    def _steps(self) -> int:
        steps = self.average * (len(self.solver.sigmas) - 1)
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

"""Masks of an image, as several readers would draw them, by independent chains of a conditional diffusion of the mask."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.geometry import plain
from diffzoo.tasks.progress import Counter, Progress
from diffzoo.tasks.slices import Part, SliceInferer, in_batches

BASE_BYTES = 0.7e9  # Python with torch and MONAI
VOXEL_BYTES = 60.0  # of the image, its maps and copies
PIXEL_BYTES = 1500.0  # activations of the network
BOUND = 1.0  # of a mask, coded -1 and 1


class Segment(SliceInferer):
    """inferer(image, network, patch, slice_index, chain) -> masks [1, N, S, S, D] of N draws, in [-1, 1], above 0 inside.

    patch [1, 1, S, S, D]: grey levels in [0, 1] of the part of the image that is segmented; slice_index [1, D]: the number of
    each slice; chain [1]: a number of the case that goes into its noise, so that cases which differ in it are independent.
    The mask alone is diffused, from noise of sigmas[0]; the patch is given to the network at every level (Rahman et al. 2023).
    The slices of a draw share their noise, so that one reader goes through a volume, unless `shared_noise` is false.
    `draw_batch` draws of a slice are computed together. `stats` tells of the latest call: seconds, network_calls (of a draw).
    """

    conditions = ("patch", "slice_index", "chain")  # items of a case that it takes beside the image

    def __init__(
        self,
        precond: Precond,
        sampler: Callable[..., Tensor],
        sigmas: Sequence[float],
        samples: int = 16,
        shared_noise: bool = True,
        seed: int = 0,
        draw_batch: int = 16,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if min(samples, draw_batch) < 1:
            raise ValueError(f"samples and draw_batch must be at least 1, not {samples} and {draw_batch}")
        self.precond, self.sampler, self.sigmas = precond, sampler, list(sigmas)
        self.samples, self.shared_noise, self.seed, self.draw_batch = samples, shared_noise, seed, draw_batch
        self.autocast, self.progress, self.stats = autocast, progress, {}

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        return f"{len(self.sigmas) - 1} steps a slice, {self.samples} draws"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a scan of this stored shape is expected to take at the most."""
        return BASE_BYTES + VOXEL_BYTES * math.prod(shape) + PIXEL_BYTES * 64 * 64 * self.draw_batch

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: nn.Module, **known: Tensor) -> Tensor:
        started, count = time.perf_counter(), plain(known["patch"]).shape[-1]
        steps = (len(self.sigmas) - 1) * -(-self.samples // self.draw_batch)
        parts = self.parts(network, {"image": inputs, **known}, in_batches(count, self.slice_batch), steps)
        calls = sum(int(figures["calls"]) for _, figures in parts)
        self.stats = {"seconds": time.perf_counter() - started, "network_calls": calls / (count * self.samples)}
        return torch.cat([masks for masks, _ in parts]).movedim(0, -1)[None]

    def part(self, network: nn.Module, given: Mapping[str, Tensor], rows: Sequence[int], counter: Counter) -> Part:
        """The draws of one slice, [1, N, S, S], and the figure calls [1]."""
        (row,) = rows
        patch = plain(given["patch"])[0, ..., row]
        index, chain = (int(plain(given[key]).flatten()[k]) for key, k in (("slice_index", row), ("chain", 0)))
        denoiser, draws = Denoiser(network, self.precond, self.autocast), []
        for numbers in in_batches(self.samples, self.draw_batch):
            keys = [(chain, k) if self.shared_noise else (chain, k, index) for k in numbers]
            draws.append(self._drawn(denoiser, patch, [stream(self.seed, *key) for key in keys], counter))
        return torch.cat(draws)[:, 0][None], {"calls": torch.tensor([denoiser.calls])}

    def _drawn(self, denoiser: Denoiser, patch: Tensor, seeds: Sequence[int], counter: Counter) -> Tensor:
        """One mask a seed, [B, 1, S, S], of a patch [1, S, S]."""
        noise, concat = Gaussian(seeds), patch.expand(len(seeds), *patch.shape)
        estimate = denoiser.bind(concat=concat)

        def denoise(x: Tensor, sigma: float) -> Tensor:
            return estimate(x, sigma).clamp(-BOUND, BOUND)

        start = self.sigmas[0] * noise(concat)
        masks = self.sampler(denoise, start, self.sigmas, noise=noise, callback=counter)
        return masks.clamp(-BOUND, BOUND)

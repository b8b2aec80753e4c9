"""Zero-shot translation to CT: high frequencies of the source guide, its mildly noised copy starts (FGDM, Li et al. 2024)."""

import math
import time
from collections.abc import Callable, Sequence

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.edges import TOP
from diffzoo.imaging.geometry import plain
from diffzoo.imaging.guide import Guide
from diffzoo.tasks.progress import Counter, Progress

BASE_BYTES = 0.7e9  # Python with torch and MONAI
VOXEL_BYTES = 60.0  # of the scan and its copies
PIXEL_BYTES = 700.0  # activations of the network
STARTS = ("source", "noise")


class FrequencyGuided(Inferer):
    """inferer(image, network, given, wanted, inside, position, slice_index) -> the slices as CT, and the spread of several draws.

    image [1, 1, H, W, D]: the source in model units of CT, one axial slice after the other. The high frequencies of a slice reach
    the network as its `guide` (`imaging.guide`), the low ones through the start, the source with noise of the first level of
    `sigmas`, of which the short schedule (`diffusion.short_schedule`) hides none; with start "noise" the guide is all that is
    known. slice_index [1, D]: numbers of the slices, which seed their noise. given, wanted, inside and position are
    those of every translation, and nothing here depends on them. Returns [1, 1, H, W, D], one draw; with samples > 1 [1, 3, H, W,
    D]: the mean of so many draws, the first of them, and their standard deviation. `stats` tells of the latest call: seconds,
    network_calls (of a slice and draw). Raises ValueError for another start, or samples or slice_batch below 1.
    """

    conditions = ("given", "wanted", "inside", "position", "slice_index")  # items of a case that it takes beside the image

    def __init__(
        self,
        precond: Precond,
        sampler: Callable[..., Tensor],
        sigmas: Sequence[float],
        guide: Guide,
        start: str = "source",
        samples: int = 1,
        seed: int = 0,
        slice_batch: int = 8,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if min(samples, slice_batch) < 1:
            raise ValueError(f"samples and slice_batch must be at least 1, not {samples} and {slice_batch}")
        if start not in STARTS:
            raise ValueError(f"a translation starts from {' or '.join(STARTS)}, not {start!r}")
        self.precond, self.sampler, self.sigmas, self.guide, self.start = precond, sampler, list(sigmas), guide, start
        self.samples, self.seed, self.slice_batch = samples, seed, slice_batch
        self.autocast, self.progress, self.stats = autocast, progress, {}

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        draws = f", {self.samples} draws" if self.samples > 1 else ""
        return f"{len(self.sigmas) - 1} steps a slice{draws}"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a scan of this stored shape is expected to take at the most."""
        largest = math.prod(sorted(shape)[-2:])
        return BASE_BYTES + VOXEL_BYTES * math.prod(shape) + PIXEL_BYTES * largest * self.slice_batch

    @torch.no_grad()
    def __call__(
        self,
        inputs: Tensor,
        network: nn.Module,
        given: Tensor | None = None,
        wanted: Tensor | None = None,
        inside: Tensor | None = None,
        position: Tensor | None = None,
        slice_index: Tensor | None = None,
    ) -> Tensor:
        started = time.perf_counter()
        image = plain(inputs)[0].movedim(-1, 0)
        index = list(range(len(image))) if slice_index is None else [int(i) for i in plain(slice_index).flatten()]
        denoiser = Denoiser(network, self.precond, self.autocast)
        batches = -(-len(image) // self.slice_batch)
        counter = Counter(self.progress, (len(self.sigmas) - 1) * self.samples * batches)
        parts = []
        for start in range(0, len(image), self.slice_batch):
            rows = slice(start, start + self.slice_batch)
            parts.append(self._drawn(denoiser, image[rows], index[rows], counter))
        calls = denoiser.calls / (len(image) * self.samples)
        self.stats = {"seconds": time.perf_counter() - started, "network_calls": calls}
        return torch.cat(parts).movedim(0, -1)[None]

    def _drawn(self, denoiser: Denoiser, image: Tensor, index: Sequence[int], counter: Callback) -> Tensor:
        """[B, 1 or 3, H, W] of a batch of slices."""
        denoise = self.guided(denoiser, image)
        draws = [self.draw(denoise, image, [stream(self.seed, k, i) for i in index], counter) for k in range(self.samples)]
        if self.samples == 1:
            return draws[0]
        stack = torch.stack(draws)
        return torch.cat([stack.mean(0), draws[0], stack.std(0)], 1)

    def guided(self, denoiser: Denoiser, image: Tensor) -> Denoise:
        """The denoiser of slices [B, 1, H, W] that is told their guide, its estimates within the range of CT."""
        denoise = denoiser.bind(concat=self.guide(image))
        return lambda x, sigma: denoise(x, sigma).clamp(0, TOP)

    def draw(self, denoise: Denoise, image: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        """One translation of slices [B, 1, H, W], in [0, 1.5]; one seed a slice."""
        noise = Gaussian(seeds)
        first = image if self.start == "source" else torch.zeros_like(image)
        x = first + self.sigmas[0] * noise(first)
        return self.sampler(denoise, x, self.sigmas, noise=noise, callback=callback).clamp(0, TOP)

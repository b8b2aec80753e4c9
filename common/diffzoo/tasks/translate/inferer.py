"""Images of a person from others of the same person, by draws of a conditional diffusion, slice by slice."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.geometry import plain
from diffzoo.tasks.progress import Counter, Progress
from diffzoo.tasks.slices import Part, SliceInferer, in_batches
from diffzoo.tasks.translate.conditions import conditions, expand_channels, untold

BASE_BYTES = 0.7e9  # Python with torch and MONAI
VOXEL_BYTES = 120.0  # of the scans and their copies
PIXEL_BYTES = 1500.0  # activations of the network
TOP = 2.0  # of model units

Draw = Callable[[Sequence[int], Callback | None], Tensor]  # (one seed a slice, callback) -> targets [B, T, H, W]


@dataclass(frozen=True)
class Slices:
    """A batch of slices: sources [B, S, H, W], given [B, S], wanted [B, T], inside [B, 1, H, W], position [B]."""

    image: Tensor
    given: Tensor
    wanted: Tensor
    inside: Tensor
    position: Tensor


class Translate(SliceInferer):
    """inferer(image, network, given, wanted, inside, position, slice_index) -> the targets, and their spread where samples > 1.

    image [1, S, H, W, D]: axial slices of the sources; given [1, S] and wanted [1, T]: which are there, and which targets to
    make; inside [1, 1, H, W, D]: the body, beyond which a target is 0; position and slice_index [1, D]: height and number of
    each slice. Returns [1, T, H, W, D], one draw, 0 for what is not wanted; with samples > 1 [1, 3 T, H, W, D]: the mean of so
    many draws, the first of them, and their standard deviation times `std_factor`. All targets of a draw are made together. The
    slices of a draw share their noise, so that neighbours go together, unless `shared_noise` is false. Without `tell_given` the
    network is not told which sources are given, to see what that is worth. `stats` tells of the
    latest call: seconds, network_calls (of a slice and draw).
    """

    conditions = ("given", "wanted", "inside", "position", "slice_index")  # items of a case that it takes beside the image

    def __init__(
        self,
        precond: Precond,
        sampler: Callable[..., Tensor],
        sigmas: Sequence[float],
        sources: Sequence[str],
        targets: Sequence[str],
        samples: int = 1,
        std_factor: float = 1.0,
        shared_noise: bool = True,
        tell_given: bool = True,
        seed: int = 0,
        slice_batch: int = 16,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if min(samples, slice_batch) < 1:
            raise ValueError(f"samples and slice_batch must be at least 1, not {samples} and {slice_batch}")
        self.precond, self.sampler, self.sigmas = precond, sampler, list(sigmas)
        self.sources, self.targets = tuple(sources), tuple(targets)
        self.samples, self.std_factor, self.shared_noise, self.tell_given = samples, std_factor, shared_noise, tell_given
        self.seed, self.slice_batch, self.autocast, self.progress, self.stats = seed, slice_batch, autocast, progress, {}

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        draws = f", {self.samples} draws" if self.samples > 1 else ""
        return f"{len(self.sigmas) - 1} steps a slice{draws}"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a scan of this stored shape is expected to take at the most."""
        return BASE_BYTES + VOXEL_BYTES * math.prod(shape) + PIXEL_BYTES * 128 * 128 * self.slice_batch

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: nn.Module, **known: Tensor) -> Tensor:
        started, count = time.perf_counter(), inputs.shape[-1]
        batches, steps = in_batches(count, self.slice_batch), (len(self.sigmas) - 1) * self.samples
        parts = self.parts(network, {"image": inputs, **known}, batches, steps)
        calls = sum(int(figures["calls"]) for _, figures in parts)
        self.stats = {"seconds": time.perf_counter() - started, "network_calls": calls / (count * self.samples)}
        self.stats |= self.more([figures for _, figures in parts], known)
        return torch.cat([found for found, _ in parts]).movedim(0, -1)[None]

    def more(self, figures: Sequence[Mapping[str, Tensor]], known: Mapping[str, Tensor]) -> dict:
        """What `stats` tells besides, from the figures of each batch and what was known of the case."""
        return {}

    def part(self, network: nn.Module, given: Mapping[str, Tensor], rows: Sequence[int], counter: Counter) -> Part:
        """The targets of neighbouring slices, [B, T or 3 T, H, W], and the figure calls [1]."""
        rows, few = slice(rows[0], rows[-1] + 1), len(rows)
        image, within = (plain(given[key])[0].movedim(-1, 0)[rows] for key in ("image", "inside"))
        flags = (plain(given[key]).to(image).expand(few, -1) for key in ("given", "wanted"))
        batch = Slices(image, *flags, within.to(image), plain(given["position"])[0].to(image)[rows])
        denoiser, index = Denoiser(network, self.precond, self.autocast), plain(given["slice_index"]).flatten().tolist()
        found = self._drawn(denoiser, batch, [int(i) for i in index[rows]], counter)
        return found, {"calls": torch.tensor([denoiser.calls])}

    def _drawn(self, denoiser: Denoiser, batch: Slices, index: Sequence[int], counter: Callback) -> Tensor:
        """[B, T or 3 T, H, W] of a batch of slices."""
        draw, draws = self.drawer(denoiser, batch), []
        for k in range(self.samples):
            seeds = [stream(self.seed, k) if self.shared_noise else stream(self.seed, k, i) for i in index]
            draws.append(draw(seeds, counter))
        if self.samples == 1:
            return draws[0]
        stack = torch.stack(draws)
        return torch.cat([stack.mean(0), draws[0], self.std_factor * stack.std(0)], 1)

    def drawer(self, denoiser: Denoiser, batch: Slices) -> Draw:
        """What draws the targets of a batch, in [0, 2] inside the body and 0 beyond; all draws share what it prepares."""
        clean = self.clean(batch.image * expand_channels(batch.given, batch.image))
        denoise, wanted = self.bound(denoiser, batch, clean), expand_channels(batch.wanted, clean)

        def draw(seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
            noise = Gaussian(seeds)
            start = clean + self.sigmas[0] * noise(clean) * wanted
            image = self.sampler(denoise, start, self.sigmas, noise=noise, callback=callback)
            return image.clamp(0, TOP) * batch.inside * wanted

        return draw

    def bound(self, denoiser: Denoiser, batch: Slices, clean: Tensor) -> Denoise:
        """The denoiser of a batch: what is not wanted keeps its clean image, at every level."""
        known = conditions(batch.image, batch.given, batch.wanted, batch.inside, batch.position)
        known = known if self.tell_given else untold(known, len(self.sources))
        denoise, wanted = denoiser.bind(**known), expand_channels(batch.wanted, clean)

        def estimate(x: Tensor, sigma: float) -> Tensor:
            x0 = denoise(clean + (x - clean) * wanted, sigma)
            return torch.where(wanted > 0, x0.clamp(0, TOP) * batch.inside, clean)

        return estimate

    def clean(self, image: Tensor) -> Tensor:
        """Targets [B, T, H, W] that are themselves given, from the sources [B, S, H, W]; 0 where a target is none of these."""
        absent = torch.zeros_like(image[:, 0])
        return torch.stack([image[:, self.sources.index(t)] if t in self.sources else absent for t in self.targets], 1)

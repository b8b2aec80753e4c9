"""Anomalies as what a prior of healthy anatomy would change: edit each slice, and score the difference."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.geometry import plain
from diffzoo.tasks.progress import Counter, Progress
from diffzoo.tasks.slices import Part, SliceInferer, in_batches

BASE_BYTES = 0.7e9  # Python with torch and MONAI
VOXEL_BYTES = 60.0  # of the scan and its copies
PIXEL_BYTES = 1500.0  # activations of the network

Change = Callable[[Denoise, Tensor, Sequence[int], Callback | None], Tensor]  # as `tasks.edit.Edit`
Score = Callable[[Tensor, Tensor, Tensor], Tensor]  # (image, healthy, brain) [1, H, W, D] -> score, higher = more abnormal


class FindAnomalies(SliceInferer):
    """inferer(image, network, vector, slice_index, brain) -> the healthy version of the image and a map of the anomalies.

    image [1, 1, H, W, D]: axial slices; vector [1, D, E]: the network's condition for each; slice_index [1, D]: their numbers,
    which seed their noise; brain [1, 1, H, W, D]: where there is tissue, told the network too (as concat) with `outline`;
    elsewhere the healthy version is the image and the map is 0. Returns [1, 2, H, W, D]: the mean of `average` runs of `edit` on
    each slice, and `score` of image and mean. `stats` tells of the latest call: seconds, network_calls (of a slice).
    """

    conditions = ("vector", "slice_index", "brain")  # items of a case that it takes beside the image

    def __init__(
        self,
        precond: Precond,
        edit: Change,
        score: Score,
        average: int = 1,
        outline: bool = True,
        seed: int = 0,
        slice_batch: int = 16,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if min(average, slice_batch) < 1:
            raise ValueError(f"average and slice_batch must be at least 1, not {average} and {slice_batch}")
        self.precond, self.edit, self.score = precond, edit, score
        self.average, self.outline, self.seed, self.slice_batch = average, outline, seed, slice_batch
        self.autocast, self.progress, self.stats = autocast, progress, {}

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        return f"{self.average * self.edit.steps} network calls a slice of the brain"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a scan of this stored shape is expected to take at the most."""
        return BASE_BYTES + VOXEL_BYTES * math.prod(shape) + PIXEL_BYTES * 128 * 128 * self.slice_batch

    def __call__(self, inputs: Tensor, network: nn.Module, vector: Tensor, slice_index: Tensor, brain: Tensor) -> Tensor:
        return self.judged(*self.edited(inputs, network, vector, slice_index, brain))[None]

    @torch.no_grad()
    def edited(
        self, inputs: Tensor, network: nn.Module, vector: Tensor, slice_index: Tensor, brain: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is judged: the image [1, H, W, D], what the edit made of it [E, H, W, D], and where there is tissue."""
        started = time.perf_counter()
        slices, inside = plain(inputs)[0].movedim(-1, 0), plain(brain)[0].movedim(-1, 0).bool()
        given = {"image": inputs, "vector": vector, "slice_index": slice_index, "brain": brain}
        batches = in_batches(len(slices), self.slice_batch)
        parts = self.parts(network, given, batches, self.average * self.edit.steps)
        healthy = torch.where(inside, torch.cat([found for found, _ in parts]), slices)
        calls = sum(int(figures["calls"]) for _, figures in parts)
        self.stats = {"seconds": time.perf_counter() - started, "network_calls": calls / len(slices)}
        image, healthy, inside = (x.movedim(0, -1) for x in (slices, healthy, inside))
        return image, healthy, inside

    def part(self, network: nn.Module, given: Mapping[str, Tensor], rows: Sequence[int], counter: Counter) -> Part:
        """What the edit makes of neighbouring slices, [B, E, H, W], and the figure calls [1]."""
        rows = slice(rows[0], rows[-1] + 1)
        slices, inside = (plain(given[key])[0].movedim(-1, 0)[rows] for key in ("image", "brain"))
        index, facts = plain(given["slice_index"]).flatten().tolist()[rows], plain(given["vector"])[0].to(slices)
        denoiser = Denoiser(network, self.precond, self.autocast)
        denoise = self.conditioned(denoiser, facts[rows], inside.bool().to(slices))
        healthy = self._healthy(denoise, slices, [int(i) for i in index], counter)
        return healthy, {"calls": torch.tensor([denoiser.calls])}

    def judged(self, image: Tensor, healthy: Tensor, inside: Tensor) -> Tensor:
        """Healthy version and score, [2, H, W, D], of an image [1, H, W, D] and what the edit made of it."""
        return torch.cat([healthy, self.score(image, healthy, inside)])

    def conditioned(self, denoiser: Denoiser, facts: Tensor, inside: Tensor) -> Denoise:
        """What the edit of some slices calls, given their vectors [B, E] and masks of tissue [B, 1, H, W]."""
        return denoiser.bind(vector=facts, concat=inside if self.outline else None)

    def _healthy(self, denoise: Denoise, x: Tensor, index: list[int], counter: Counter) -> Tensor:
        """The mean of `average` edits of a batch of slices [B, 1, H, W]; run k of slice i has its own stream of noise."""
        total = torch.zeros_like(x)
        for k in range(self.average):
            total = total + (self.edit(denoise, x, [stream(self.seed, i, k) for i in index], counter) - x)
        return x + total / self.average  # in this order an edit that changes nothing gives the very same bits

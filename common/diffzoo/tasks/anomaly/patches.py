"""Anomalies by patched diffusion: each part of a slice is estimated once, from its noised self and its clean surroundings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Noise
from diffzoo.diffusion.patches import PatchDenoise, grid_boxes, patched_estimate
from diffzoo.tasks.anomaly.inferer import FindAnomalies


@dataclass(frozen=True)
class PatchEdit:
    """edit(denoise, x [B, C, H, W], seeds, callback) -> x as the prior would have each of its patches, [B, C, H, W].

    sigmas: levels of noise, whose one-shot estimates are averaged; a level of 0 changes nothing. patch: side of a box in pixels;
    overlap: the least part of it that neighbours share; blend as for `diffusion.patches.patched_estimate`. An item has one field
    of noise, for all boxes and levels. field: the usual size of a slice, from which the number of calls is told beforehand.
    Raises ValueError for no level, or one below 0.
    """

    sigmas: Sequence[float]
    noise: Noise
    patch: int = 48
    overlap: float = 0.5
    blend: str = "mean"
    field: tuple[int, int] = (96, 112)

    def __post_init__(self) -> None:
        if not self.sigmas or min(self.sigmas) < 0:
            raise ValueError(f"noise levels are one or more numbers of 0 or more, not {list(self.sigmas)}")
        grid_boxes(self.field, self.patch, self.overlap)  # refuses bad settings before the first call

    @property
    def steps(self) -> int:
        """Network calls a slice of the usual size, fewer where it has boxes without tissue."""
        return sum(level > 0 for level in self.sigmas) * len(grid_boxes(self.field, self.patch, self.overlap))

    def __call__(self, denoise: PatchDenoise, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        boxes, noise = grid_boxes(x.shape[2:], self.patch, self.overlap), self.noise(seeds)(x)
        total = torch.zeros_like(x)
        for level in self.sigmas:
            if level:
                watch = None if callback is None else lambda sigma=level: callback(0, sigma, x, x)
                total += patched_estimate(denoise, x, level, noise, boxes, self.blend, watch) - x
        return x + total / len(self.sigmas)


def noise_levels(text: float | str) -> list[float]:
    """Levels from a parameter: 0.4, or "0.25,0.5,1" for several. Raises ValueError for what is no number."""
    return [float(part) for part in str(text).split(",")]


class FindByPatches(FindAnomalies):
    """`FindAnomalies` whose network is told the box as a second channel beside the outline of the brain."""

    def conditioned(self, denoiser: Denoiser, facts: Tensor, inside: Tensor) -> PatchDenoise:
        """What `PatchEdit` calls: (x [n, 1, H, W], sigma, box [1, 1, H, W], rows [B] bool of these n) -> estimate."""

        def denoise(x: Tensor, sigma: float, box: Tensor, rows: Tensor) -> Tensor:
            level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
            concat = torch.cat([inside[rows], box.expand(len(x), -1, -1, -1)], 1)
            return denoiser(x, level, vector=facts[rows], concat=concat)

        return denoise

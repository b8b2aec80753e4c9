"""Training batches for restoration without clean scans: crops of self-fused frames (Hu, Tao & Oguz 2022)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.geometry import to_slices
from diffzoo.imaging.intensity import robust_scale
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.self_fusion import fused_stack
from diffzoo.training.draws import BatchDataset, below, uniform


class FusedCrops(BatchDataset):
    """Batches [batch_size, 1, crop, crop] of random crops; item i of epoch e is the same batch on every run and after a resume.

    files: volumes whose frames lie densely enough that neighbours show nearly the same: each frame is fused with `radius` of them
    on each side, once, at the start. A volume is divided by its robust maximum. Crops are flipped and transposed, zoomed by up to
    `zoom`, and their grey values stretched by a factor within `gain` and moved by up to `offset`, since displays differ.
    Raises ValueError where there is no file.
    """

    def __init__(
        self,
        files: Sequence[str],
        crop: int = 96,
        batch_size: int = 16,
        batches: int = 100,
        seed: int = 0,
        radius: int = 3,
        gain: tuple[float, float] = (0.7, 1.2),
        offset: float = 0.1,
        zoom: tuple[float, float] = (0.8, 1.25),
    ) -> None:
        if not files:
            raise ValueError("no training volumes: the list of files is empty")
        super().__init__(batch_size, batches, seed)
        self.crop, self.gain, self.offset, self.zoom = crop, tuple(gain), offset, tuple(zoom)
        self.stacks = [self._padded(_fused(file, radius)) for file in files]

    def _padded(self, stack: Tensor) -> Tensor:
        """Room for the largest crop."""
        least = math.ceil(self.crop / self.zoom[0])
        pads = [max(0, least - n) for n in stack.shape[1:]]
        return F.pad(stack, (0, pads[1], 0, pads[0])) if any(pads) else stack

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"image": torch.stack([self._crop(generator) for _ in range(self.batch_size)])[:, None]}

    def _crop(self, generator: torch.Generator) -> Tensor:
        stack = self.stacks[below(len(self.stacks), generator)]
        size = self.crop
        if below(4, generator) == 0:
            low, high = (math.log(z) for z in self.zoom)
            size = round(self.crop / math.exp(uniform(low, high, generator)))
        top, left = (below(n - size + 1, generator) for n in stack.shape[1:])
        crop = stack[below(len(stack), generator), top : top + size, left : left + size]
        if size != self.crop:
            crop = F.interpolate(crop[None, None], (self.crop, self.crop), mode="bilinear", antialias=True)[0, 0]
        crop = crop.flip([axis for axis in (0, 1) if below(2, generator)])
        crop = crop.T if below(2, generator) else crop
        return uniform(*self.gain, generator) * crop + uniform(-self.offset, self.offset, generator)


def _fused(file: str, radius: int) -> Tensor:
    """Fused frames [D, H, W] of a volume, divided by its robust maximum."""
    stack = to_slices(read_volume(file)).as_tensor()[0].movedim(-1, 0).float().contiguous()
    return fused_stack(stack, radius) / robust_scale(stack)

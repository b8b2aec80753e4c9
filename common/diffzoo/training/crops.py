"""Training batches of 2D crops, drawn from whole volumes held in memory and augmented as a batch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from diffzoo.imaging.intensity import robust_scale
from diffzoo.imaging.stacks import read_stacks
from diffzoo.training.draws import below


class SliceCrops(Dataset):
    """Batches of random crops from magnitude volumes; item i of epoch e is the same batch on every run and after a resume.

    files: volumes (or 2D pictures) that any slice is taken from, each volume with equal weight, a 2D picture with a fifth of it.
    A volume with near-isotropic voxels gives slices of all three orientations, another one only its own slices. Intensities are
    divided by the robust maximum, then by a random factor; batches are [batch_size, 1, crop, crop] float32, about [0, 1].
    """

    def __init__(
        self,
        files: Sequence[str],
        crop: int = 96,
        batch_size: int = 16,
        batches: int = 100,
        seed: int = 0,
        gain: tuple[float, float] = (0.6, 1.2),
        zoom: tuple[float, float] = (0.8, 1.25),
    ) -> None:
        if not files:
            raise ValueError("no training volumes: the list of files is empty")
        self.crop, self.batch_size, self.batches, self.seed = crop, batch_size, batches, seed
        self.gain, self.zoom, self.epoch = tuple(gain), tuple(zoom), 1
        self.groups = [self._load(file) for file in files]
        self.weights = torch.tensor([1.0 if sum(map(len, group)) > 3 else 0.2 for group in self.groups])

    def _load(self, file: str) -> list[Tensor]:
        """Stacks [D, H, W] of one file, scaled and padded to at least the largest crop that a zoom may ask for."""
        least = math.ceil(self.crop / min(1.0, self.zoom[0])) + 1
        stacks = []
        for stack in read_stacks(file):
            stack = stack / robust_scale(stack)
            pads = [max(0, least - n) for n in reversed(stack.shape[1:])]
            stack = F.pad(stack, [p for pad in pads for p in (pad // 2, pad - pad // 2)])
            keep = (stack > 0.1).flatten(1).float().mean(1) > 0.05  # slices of air teach nothing
            if keep.any():
                stacks.append(stack[keep].half())
        if not stacks:
            raise ValueError(f"{file}: no slice with anatomy in it")
        return stacks

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        step = (self.epoch - 1) * self.batches + index
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return {"image": torch.stack([self._draw(generator) for _ in range(self.batch_size)])}

    def _draw(self, generator: torch.Generator) -> Tensor:
        group = self.groups[int(torch.multinomial(self.weights, 1, generator=generator))]
        stack = group[below(len(group), generator)]
        image = self._window(stack[below(len(stack), generator)].float(), generator)
        for axis in (0, 1):
            if below(2, generator):
                image = image.flip(axis)
        if below(2, generator):
            image = image.T
        low, high = self.gain
        return image[None] * (low + (high - low) * torch.rand((), generator=generator))

    def _window(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """A crop with some anatomy in it; three in four at the native size, one zoomed."""
        size = self.crop
        if below(4, generator) == 0:
            low, high = (math.log(z) for z in self.zoom)
            size = round(self.crop / math.exp(low + (high - low) * float(torch.rand((), generator=generator))))
        for _ in range(4):  # a few tries: empty crops are kept now and then, so that air is learnt too
            top, left = (below(n - size + 1, generator) for n in image.shape)
            window = image[top : top + size, left : left + size]
            if (window > 0.1).float().mean() > 0.15:
                break
        if size == self.crop:
            return window
        return F.interpolate(window[None, None], (self.crop, self.crop), mode="bilinear", antialias=True)[0, 0]

"""The randomness of a training dataset: a function of seed, epoch and index, so that a resumed run draws what one run would."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffzoo.diffusion.noise import stream


def batch_generator(seed: int, epoch: int, batches: int, index: int) -> torch.Generator:
    """The generator of batch `index` of an epoch (1, 2, ...) of that many batches; IndexError beyond the epoch's end."""
    if not 0 <= index < batches:
        raise IndexError(index)
    return torch.Generator().manual_seed(stream(seed, (epoch - 1) * batches + index))


def below(limit: int, generator: torch.Generator) -> int:
    """A whole number from 0 to limit - 1, all as likely."""
    return int(torch.randint(limit, (), generator=generator))


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """An even draw between two numbers."""
    return low + (high - low) * float(torch.rand((), generator=generator))


class BatchDataset(Dataset, ABC):
    """`batches` whole batches an epoch, each drawn by a generator of its own; the training sets `epoch`, 1 at first."""

    def __init__(self, batch_size: int, batches: int, seed: int) -> None:
        self.batch_size, self.batches, self.seed, self.epoch = batch_size, batches, seed, 1

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._batch(batch_generator(self.seed, self.epoch, self.batches, index))

    @abstractmethod
    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        """A batch, [B, ...] by name, that depends on the generator alone."""

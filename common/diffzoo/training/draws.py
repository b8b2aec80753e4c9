"""The randomness of a training dataset: a function of seed, epoch and index, so that a resumed run draws what one run would."""

import torch

from diffzoo.diffusion.noise import stream


def batch_generator(seed: int, epoch: int, batches: int, index: int) -> torch.Generator:
    """The generator of batch `index` of an epoch (1, 2, ...) of that many batches; IndexError beyond the epoch's end."""
    if not 0 <= index < batches:
        raise IndexError(index)
    return torch.Generator().manual_seed(stream(seed, (epoch - 1) * batches + index))

"""Several processes that train one network: shares of a batch, and the means that keep the processes alike.

Each process draws the same batch, sigmas and noise, takes its share of their items, and makes its step with the mean of all
gradients: what `DistributedDataParallel` does, for networks that have more entrances than `forward`. The batch size of a config
is that of all processes together. Without a process group (see `tasks.launch`) there is one process, and nothing to share.
"""

import torch
from torch import Tensor, distributed, nn

from diffzoo.errors import InputError


def place() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def leads() -> bool:
    """Whether this process is the one that writes files."""
    return place()[0] == 0


def shares(items: int, parts: int = 1) -> list[slice]:
    """Which of a batch's items this process takes, in at most that many parts; InputError if a process would go without any."""
    rank, world = place()
    if items < world:
        raise InputError(f"a batch of {items} cannot be shared by {world} processes: raise batch_size, or start fewer of them")
    return [slice(first, None, world * parts) for first in range(rank, min(items, world * parts), world)]


def mean_gradients(network: nn.Module) -> None:
    """Replaces the gradients of each process by their mean over all of them."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    if place()[1] == 1 or not gradients:
        return
    flat = mean(torch.cat([g.flatten() for g in gradients]))
    for gradient, values in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(values.view(gradient.shape))


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; the tensor itself where there is one."""
    world = place()[1]
    if world == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / world


def told_by_first(value: bool, device: torch.device) -> bool:
    """What the first process says, for decisions that hang on a clock."""
    if place()[1] == 1:
        return value
    said = torch.tensor(float(value), device=device)
    distributed.broadcast(said, 0)
    return bool(said)

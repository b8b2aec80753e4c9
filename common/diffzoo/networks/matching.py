"""A start from the weights of another network, as far as they match."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

LEAST = 0.5  # of the tensors of a network, which have to come out of the file


def start_from(network: nn.Module, weights: str | Path | None) -> nn.Module:
    """The network with each tensor of a weight file that has its name and fits its shape; with no file, as it is.

    A tensor that has more rows or columns than that of the file takes it as its first part and is 0 beyond: a condition that the
    other network did not know then changes nothing at first. Raises ValueError where fewer than half of the tensors match.
    """
    if not weights:
        return network
    stored, own = load_file(weights), network.state_dict()
    matched = {name: widened(stored[name], value) for name, value in own.items() if name in stored and fits(stored[name], value)}
    if len(matched) < LEAST * len(own):
        raise ValueError(f"{Path(weights).name} holds {len(matched)} of the {len(own)} tensors of this network")
    network.load_state_dict(matched, strict=False)
    return network


def fits(given: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a tensor is no larger than another one along any axis."""
    return given.ndim == own.ndim and all(k <= n for k, n in zip(given.shape, own.shape, strict=True))


def widened(given: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """A tensor of the shape and type of `own` that begins with `given` and is 0 beyond."""
    wide = torch.zeros_like(own)
    wide[tuple(slice(0, k) for k in given.shape)] = given.to(own)
    return wide

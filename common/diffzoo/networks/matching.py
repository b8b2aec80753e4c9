"""A start from the weights of another network, as far as they match."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn


def start_from(network: nn.Module, path: str | Path | None) -> nn.Module:
    """The network with each tensor of a weight file that has its name and shape; with no file, as it is.

    A tensor that has more rows or columns than that of the file takes it as its first part and is 0 beyond: a condition that the
    other network did not know then changes nothing at first. Raises ValueError where no tensor matches.
    """
    if not path:
        return network
    held, own, matched = load_file(path), network.state_dict(), {}
    for name in own.keys() & held.keys():
        value, given = own[name], held[name].to(own[name].dtype)
        if value.ndim == given.ndim and all(n >= k for n, k in zip(value.shape, given.shape, strict=True)):
            wide = torch.zeros_like(value) if value.shape != given.shape else value.clone()
            wide[tuple(slice(0, k) for k in given.shape)] = given
            matched[name] = wide
    if not matched:
        raise ValueError(f"{Path(path).name} holds no tensor of this network's names and shapes")
    network.load_state_dict(matched, strict=False)
    return network

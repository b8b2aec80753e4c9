"""A network that starts from the weights of one with fewer inputs."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from diffzoo.training.setup import prepare


def prepare_wider(network: nn.Module, weights: str | None, seed: int, device: torch.device) -> nn.Module:
    """As `training.setup.prepare`; weights of a network with fewer input channels serve too, and the further ones start at 0.

    The further channels are the last ones of a convolution's input, so at first the network does what the other did. Raises
    FileNotFoundError for no file, ValueError naming a tensor that differs in any other way.
    """
    if not weights:
        return prepare(network, None, seed, device)
    if not Path(weights).is_file():
        raise FileNotFoundError(f"no weight file {weights}")
    state, own = load_file(weights), network.state_dict()
    if unknown := sorted(state.keys() ^ own.keys()):
        raise ValueError(f"{Path(weights).name} is of another network: {', '.join(unknown[:3])}")
    network.load_state_dict({name: _widened(name, value.to(own[name].dtype), own[name]) for name, value in state.items()})
    return prepare_on(network, device)


def prepare_on(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device, channels last, which makes slices faster."""
    return network.to(device, memory_format=torch.channels_last)


def _widened(name: str, value: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    if value.shape == own.shape:
        return value
    if value.ndim != own.ndim or value.ndim < 3 or value.shape[0] != own.shape[0] or value.shape[2:] != own.shape[2:]:
        raise ValueError(f"{name} has shape {list(value.shape)}, not {list(own.shape)}")
    if value.shape[1] > own.shape[1]:
        raise ValueError(f"{name} takes {value.shape[1]} channels, more than the {own.shape[1]} of this network")
    wider = torch.zeros_like(own)
    wider[:, : value.shape[1]] = value
    return wider

"""What a train.yaml builds: the network to start from and its optimiser."""

import torch
from torch import nn

from diffzoo.networks.weights import load_weights


def prepare(network: nn.Module, weights: str | None, seed: int, device: torch.device) -> nn.Module:
    """The network on its device: from a weight file, or initialised anew from the seed."""
    network = load_weights(network, weights) if weights else _initialised(network, seed)
    volumes = any(p.ndim == 5 for p in network.parameters())  # channels last makes slices faster, volumes on a CPU slower
    return network.to(device) if volumes else network.to(device, memory_format=torch.channels_last)


def _initialised(network: nn.Module, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            if hasattr(module, "reset_parameters") and any(p.abs().sum() > 0 for p in module.parameters(recurse=False)):
                module.reset_parameters()  # a layer of zeros was meant to start at zero
    return network


def adam(
    network: nn.Module, lr: float, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.99)
) -> torch.optim.Optimizer:
    """AdamW over all parameters, by default with the second moment of EDM (0.99)."""
    return torch.optim.AdamW(network.parameters(), lr=lr, betas=tuple(betas), weight_decay=weight_decay)

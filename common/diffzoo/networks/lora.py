"""Fine-tuning of a few weights: low-rank adapters (LoRA, Hu et al. 2021), or the last layers alone.

Every function here gives a copy: the network that it is handed stays as it is.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd


class Adapted(nn.Module):
    """A linear or convolution layer of weight W + scale B A, a matrix [out, in * kernel] and its adapter of a low rank (eq. 3).

    For a convolution A is one from its inputs to `rank` channels, with its own kernel, and B one of 1 x 1 to its outputs. A is
    drawn at random and B is zero at first, so that the layer is what it was. W does not train.
    """

    def __init__(self, layer: nn.Module, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        layer.weight.requires_grad_(False)
        rows, columns = len(layer.weight), layer.weight[0].numel()
        drawn = torch.randn((rank, columns), generator=generator) / math.sqrt(columns)
        self.A = nn.Parameter(drawn.to(layer.weight))
        self.B = nn.Parameter(layer.weight.new_zeros(rows, rank))

    def weight(self) -> Tensor:
        """W + scale B A, in the shape of W."""
        weight = self.layer.weight.clone()  # in its memory format, on which the last bits of a convolution depend
        return weight.add_((self.B @ self.A).view(weight.shape), alpha=self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return functional_call(self.layer, {"weight": self.weight()}, (x,))

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """The layer alone, with that weight."""
        plain = copy.deepcopy(self.layer)
        plain.weight.copy_(self.weight())
        return plain


def add(network: nn.Module, rank: int = 8, alpha: float | None = None, seed: int = 0) -> nn.Module:
    """A copy with an adapter of alpha / rank B A on each linear and convolution layer where that is smaller.

    Adapters train, and with them the vectors among the weights: biases, scales and shifts of norms, a few thousand numbers.
    alpha is the rank unless it is given. The copy gives what the network gives, to the bit, until it is trained. Raises
    ValueError for a rank below 1, and for a network that has adapters already or has no layer for them.
    """
    if rank < 1:
        raise ValueError(f"the rank of the adapters must be 1 or more, not {rank}")
    if _adapted(network):
        raise ValueError("the network has adapters already: add them to merged(network)")
    copied = copy.deepcopy(network).requires_grad_(False)
    layers = {name: m for name, m in copied.named_modules() if name and isinstance(m, nn.Linear | _ConvNd)}
    small = {name: m for name, m in layers.items() if rank * (len(m.weight) + m.weight[0].numel()) < m.weight.numel()}
    if not small:
        raise ValueError(f"no layer of this network is larger than an adapter of rank {rank}: take a lower one")
    generator, scale = torch.Generator().manual_seed(seed), (rank if alpha is None else alpha) / rank
    for name, layer in small.items():
        copied.set_submodule(name, Adapted(layer, rank, scale, generator))
    for parameter in copied.parameters():
        parameter.requires_grad_(parameter.requires_grad or parameter.ndim == 1)
    return copied


def merged(network: nn.Module) -> nn.Module:
    """A copy without adapters, whose weights are W + scale B A, under the very names of the parent's."""
    plain = copy.deepcopy(network)
    for name, layer in _adapted(plain).items():
        plain.set_submodule(name, layer.folded())
    return plain


def _adapted(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules() if hasattr(module, "folded")}


def freeze(network: nn.Module, but: Sequence[str] | None = None) -> nn.Module:
    """A copy of which only the submodules of those names train; its `head` where none are given.

    Raises ValueError for a name that the network does not have, and where there is no head to be found.
    """
    frozen = copy.deepcopy(network).requires_grad_(False)
    names = head(network) if but is None else but
    known = {name for name, _ in network.named_modules()}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"has no submodule {unknown[0]!r}" if unknown else "has no layers that are known to be the last"
        raise ValueError(f"the network {what}: name those that are to train")
    for name in names:
        frozen.get_submodule(name).requires_grad_(True)
    return frozen.to(memory_format=torch.contiguous_format)  # torch 2.13 crashes in channels-last group norm behind frozen layers


def head(network: nn.Module) -> list[str]:
    """Names of what stands last in MONAI's networks: `out`, `final_conv...`, and the last of the `up_blocks`."""
    names = [name for name, _ in network.named_modules()]
    last = [name for name in names if name.split(".")[-1] == "out" or name.split(".")[-1].startswith("final_conv")]
    blocks = [name for name in names if name.split(".")[-1] == "up_blocks"]
    return last + [f"{name}.{len(network.get_submodule(name)) - 1}" for name in blocks]


def trainable(network: nn.Module) -> tuple[int, int]:
    """How many parameters train, and how many the network has without its adapters."""
    trains = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trains, sum(p.numel() for p in merged(network).parameters())

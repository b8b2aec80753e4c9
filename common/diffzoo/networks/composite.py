"""Several networks as one module with one strict state dict: what a bundle of latent diffusion names `network_def`."""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from diffzoo.spaces import Latent, unit_scale

from .unet import pad_to_multiple


class LatentDiffusion(nn.Module):
    """Autoencoder, diffusion network of its latents, and any others `beside` them, each an attribute of the name it is given.

    x [B, C, *L], c_noise [B] and conditions -> what the diffusion network gives: called, it is a network of latents. `space` is
    the way between data and those latents; its scale is a buffer, so the weight file has it. Raises ValueError where a name
    `beside` is taken or is none.
    """

    def __init__(self, autoencoder: nn.Module, diffusion: nn.Module, beside: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.autoencoder, self.diffusion = autoencoder, diffusion
        self.register_buffer("scale", torch.ones(autoencoder.latent_channels))
        for name, network in (beside or {}).items():
            if not name.isidentifier() or hasattr(self, name):
                raise ValueError(f"a network beside cannot be named {name!r}: choose a plain word that is not taken")
            self.add_module(name, network)

    @property
    def space(self) -> Latent:
        """Between data and latents of a spread of 1."""
        return Latent(self.autoencoder, self.scale)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor | None = None,
        *,
        concat: Tensor | None = None,
        vector: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        return self.diffusion(x, c_noise, concat=concat, vector=vector, tokens=tokens)


def site_shares(mask: Tensor, factor: int) -> Tensor:
    """The share of each latent site's pixels that a mask [B, 1, H, W] holds, [B, 1, ceil(H / factor), ceil(W / factor)]."""
    return avg_pool2d(pad_to_multiple(mask.float(), factor), factor)


def part(network: nn.Module, name: str) -> nn.Module:
    """One network of a composite, itself and no copy, for what trains it alone. Raises ValueError for a name it does not have."""
    parts = dict(network.named_children())
    if name not in parts:
        raise ValueError(f"the network has no part {name!r}; it has {', '.join(parts) or 'none'}")
    return parts[name]


def scaled(network: LatentDiffusion, batches: Iterable[Mapping[str, Tensor]], key: str = "image", count: int = 8) -> nn.Module:
    """A copy whose latents of these data, the first `count` batches of [B, K, *S], have a standard deviation of 1 a channel."""
    device = network.scale.device
    images = (batch[key].to(device) for _, batch in zip(range(count), batches, strict=False))
    values = unit_scale(network.autoencoder, images)
    copied = copy.deepcopy(network)
    copied.scale.copy_(values)
    return copied


def condition_tokens(values: Tensor) -> Tensor:
    """Conditions [B, n], NaN where one is not known -> tokens [B, n, n + 1] for cross-attention, of zeros where it is not.

    A token holds the one-hot number of its condition, then the value: so attention can pick among them, and each can be left out.
    """
    known = values.isfinite()
    names = torch.eye(values.shape[1], dtype=values.dtype, device=values.device).expand(len(values), -1, -1)
    return torch.cat([names, values.nan_to_num()[..., None]], 2) * known[..., None]

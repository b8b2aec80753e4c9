"""A classifier of noisy images: the encoder half of MONAI's diffusion U-Net with attention pooling, for images of any size."""

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from diffzoo.networks.unet import fold, pad_to_multiple


class NoisyClassifier(nn.Module):
    """Encoder of a diffusion U-Net, then a verdict and a weight for each place of its last level.

    x [B, in_channels, *S], c_noise [B], concat [B, concat_channels, *S], vector [B, vector_size] -> logits [B, classes]: the sum
    of the verdicts of all places by their weights, which sum to 1 (gated attention pooling, Ilse et al. 2018, eq. 8). So what a
    slice is called can rest on a small part of it. The rest is as `networks.unet.UNet`.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        classes: int = 2,
        channels: tuple[int, ...] = (32, 48, 64),
        num_res_blocks: int = 1,
        norm_num_groups: int = 16,
        shuffle: int = 2,
        concat_channels: int = 0,
        vector_size: int = 0,
    ) -> None:
        super().__init__()
        self.shuffle, self.concat_channels, self.vector_size = shuffle, concat_channels, vector_size
        self.multiple = shuffle * 2 ** (len(channels) - 1)
        unet = DiffusionModelUNet(
            spatial_dims=spatial_dims,
            in_channels=(in_channels + concat_channels) * shuffle**spatial_dims,
            out_channels=1,
            channels=tuple(channels),
            num_res_blocks=num_res_blocks,
            attention_levels=(False,) * len(channels),
            num_head_channels=norm_num_groups,
            norm_num_groups=norm_num_groups,
        )
        self.embedded = channels[0]
        self.conv_in, self.time_embed = unet.conv_in, unet.time_embed
        self.down_blocks, self.middle_block = unet.down_blocks, unet.middle_block
        if vector_size:
            self.class_embedding = nn.Linear(vector_size, channels[0] * 4)
        kind = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
        self.norm = nn.GroupNorm(norm_num_groups, channels[-1])
        _wake(self)
        self.verdict, self.gate = kind(channels[-1], classes, 1), kind(channels[-1], 1, 1)

    def forward(self, x: Tensor, c_noise: Tensor, *, concat: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        for name, given, size in (("concat", concat, self.concat_channels), ("vector", vector, self.vector_size)):
            if (given is not None) != bool(size):
                raise ValueError(f"condition {name!r} {'is missing' if size else 'is not taken by this network'}")
        x = x if concat is None else torch.cat([x, concat.to(x)], 1)
        h = self.conv_in(fold(pad_to_multiple(x, self.multiple), self.shuffle))
        embedded = self.time_embed(frequencies(c_noise, self.embedded))
        embedded = embedded if vector is None else embedded + self.class_embedding(vector)
        for block in self.down_blocks:
            h, _ = block(hidden_states=h, temb=embedded, context=None)
        h = nn.functional.silu(self.norm(self.middle_block(hidden_states=h, temb=embedded, context=None)))
        weights = self.gate(h).flatten(2).softmax(2)
        return (self.verdict(h).flatten(2) * weights).sum(2)


def _wake(network: nn.Module) -> None:
    """Initialises the layers that a denoiser starts at zero: what tells classes apart has no use for blocks that do nothing."""
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and hasattr(module, "reset_parameters") and not any(parameter.any() for parameter in own):
            module.reset_parameters()


def frequencies(values: Tensor, size: int) -> Tensor:
    """Noise labels [B] -> cosines and sines [B, size] of frequencies from 1 down to 1e-4 (Vaswani et al. 2017, sec. 3.5)."""
    half = size // 2
    turns = 10_000.0 ** (-torch.arange(half, dtype=values.dtype, device=values.device) / half)
    angles = values[:, None] * turns
    return torch.cat([angles.cos(), angles.sin()], 1)

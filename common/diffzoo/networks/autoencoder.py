"""MONAI's autoencoder for latent diffusion (Rombach et al. 2022), for images and for soft label maps of any size."""

from collections.abc import Sequence

import torch
from monai.networks.nets import AutoencoderKL
from torch import Tensor, nn

from .unet import pad_to_multiple


class Autoencoder(nn.Module):
    """`AutoencoderKL` with padding to a size it can halve; `soft_labels` makes its output a partition of unity.

    x [B, in_channels, *S] -> latents [B, latent_channels, *ceil(S / factor)], factor = 2^(levels - 1). Soft label maps lie in
    [0, 1] and sum to 1 over the channels: a softmax makes them so. `attention` puts a layer of it at the bottom of both halves,
    whose cost grows with the square of the latent sites. 1D, 2D and 3D.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        channels: tuple[int, ...] = (16, 32, 64),
        latent_channels: int = 3,
        num_res_blocks: int = 1,
        attention: bool = True,
        norm_num_groups: int = 8,
        soft_labels: bool = False,
    ) -> None:
        super().__init__()
        if soft_labels and in_channels < 2:
            raise ValueError(f"soft labels need 2 channels or more, not {in_channels}: the background is one of them")
        self.latent_channels, self.soft_labels = latent_channels, soft_labels
        self.factor = 2 ** (len(channels) - 1)
        self.autoencoder = AutoencoderKL(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=in_channels,
            channels=tuple(channels),
            latent_channels=latent_channels,
            num_res_blocks=num_res_blocks,
            attention_levels=(False,) * len(channels),
            norm_num_groups=norm_num_groups,
            with_encoder_nonlocal_attn=attention,
            with_decoder_nonlocal_attn=attention,
            use_flash_attention=True,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, in_channels, *S] -> mean and standard deviation of its latents, both [B, latent_channels, *ceil(S / factor)]."""
        return self.autoencoder.encode(pad_to_multiple(x, self.factor))

    def decode(self, z: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Latents [B, latent_channels, *L] -> [B, in_channels, *S], S being factor L, or the first voxels of it."""
        x = self.autoencoder.decode(z)
        x = x if size is None else x[(..., *(slice(0, n) for n in size))]
        return x.softmax(1, dtype=torch.promote_types(x.dtype, torch.float32)) if self.soft_labels else x

    def forward(self, x: Tensor) -> Tensor:
        """x [B, in_channels, *S] -> what is left of it by way of the mean of its latents."""
        return self.decode(self.encode(x)[0], x.shape[2:])

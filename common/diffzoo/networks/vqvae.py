"""MONAI's VQ-VAE (van den Oord et al. 2017) behind the interface of an autoencoder for latent diffusion."""

from collections.abc import Sequence

import torch
from monai.networks.nets import VQVAE
from torch import Tensor, nn

from .unet import pad_to_multiple


class QuantisedAutoencoder(nn.Module):
    """`VQVAE` whose latents are the codes before quantisation; they are quantised on the way back to the image.

    x [B, in_channels, *S] -> latents [B, latent_channels, *ceil(S / factor)], factor = 2^(levels of channels). The code book, of
    `codes` vectors, follows the latents by moving averages in training alone. Diffusion works on what `encode` gives, for MONAI's
    `encode_stage_2_inputs` quantises already.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        channels: tuple[int, ...] = (32, 64),
        num_res_layers: int = 1,
        latent_channels: int = 8,
        codes: int = 128,
        commitment: float = 0.25,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.latent_channels, self.factor = latent_channels, 2 ** len(channels)
        self.vqvae = VQVAE(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=in_channels,
            channels=tuple(channels),
            num_res_layers=num_res_layers,
            num_res_channels=tuple(channels),
            downsample_parameters=((2, 4, 1, 1),) * len(channels),
            upsample_parameters=((2, 4, 1, 1, 0),) * len(channels),
            num_embeddings=codes,
            embedding_dim=latent_channels,
            commitment_cost=commitment,
            decay=decay,
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, in_channels, *S] -> its latents [B, latent_channels, *ceil(S / factor)], and their deviations, which are 0."""
        z = self.vqvae.encode(pad_to_multiple(x, self.factor))
        return z, torch.zeros_like(z)

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [B, latent_channels, *L] -> nearest codes of the book, and the commitment loss; in training the book moves."""
        return self.vqvae.quantize(z)

    def decode(self, z: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Latents [B, latent_channels, *L], quantised first -> [B, in_channels, *S], S = factor L, or the first voxels of it."""
        return self.shown(self.quantise(z)[0], size)

    def shown(self, codes: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Codes of the book [B, latent_channels, *L] -> [B, in_channels, *S]."""
        x = self.vqvae.decode(codes)
        return x if size is None else x[(..., *(slice(0, n) for n in size))]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, in_channels, *S] -> what is left of it by way of the codes."""
        return self.decode(self.encode(x)[0], x.shape[2:])

    @torch.no_grad()
    def revive(self, z: Tensor, generator: torch.Generator, least: float) -> int:
        """Puts codes that fewer than `least` latents a step take onto latents of z [B, latent_channels, *L]; how many it were.

        Which ones comes from the generator alone (Dhariwal et al. 2020, sec. 3.1: random restarts).
        """
        book = self.vqvae.quantizer.quantizer
        idle = (book.ema_cluster_size < least).nonzero().flatten()
        rows = z.movedim(1, -1).flatten(0, -2)
        drawn = torch.randint(len(rows), (len(idle),), generator=generator).to(z.device)
        book.embedding.weight[idle] = rows[drawn].to(book.embedding.weight)
        book.ema_w[idle] = rows[drawn].to(book.ema_w)
        book.ema_cluster_size[idle] = 1.0
        return len(idle)

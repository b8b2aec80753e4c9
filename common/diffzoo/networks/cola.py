"""The network of CoLa-Diff: noise in the latent of one contrast, given latents of others, regions and the brain's outline."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .auto_weight import AutoWeight
from .collaborative_filter import CollaborativeFilter, Followed
from .unet import UNet

FIXED = 1.5  # factor of all conditions without the auto-weights: that of their start


class ColaUNet(nn.Module):
    """x [B, c, *L], c_noise [B], concat [B, R c + K + R + 1, *L], vector [B, 2 R + 1] -> [B, c, *L].

    concat: latents of R contrasts (0 where one is not given), shares of K regions, R planes of ones for what is given, the
    brain's share; the first R c + K are weighed (`auto_weight.AutoWeight`). vector: given and wanted contrasts, height of the
    slice. A `collaborative_filter` follows the last block of the decoder. The three parts have switches, which work on trained
    weights too: weighted (else every condition has the factor 1.5), structured (else the regions are 0), filtered (else the
    features pass as they are).
    """

    def __init__(
        self,
        latent_channels: int = 8,
        roles: int = 4,
        regions: int = 3,
        channels: Sequence[int] = (48, 96, 128),
        attention_levels: Sequence[bool] = (False, False, True),
        weighted: bool = True,
        structured: bool = True,
        filtered: bool = True,
    ) -> None:
        super().__init__()
        self.roles, self.regions, self.latent_channels = roles, regions, latent_channels
        self.weighted, self.structured = weighted, structured
        self.weighs = roles * latent_channels + regions
        self.weigh = AutoWeight(self.weighs)
        self.unet = UNet(
            in_channels=latent_channels,
            out_channels=latent_channels,
            concat_channels=self.weighs + roles + 1,
            vector_size=2 * roles + 1,
            channels=tuple(channels),
            attention_levels=tuple(attention_levels),
        )
        blocks = self.unet.unet.up_blocks
        blocks[-1] = Followed(blocks[-1], CollaborativeFilter(enabled=filtered))

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor | None = None,
        *,
        concat: Tensor | None = None,
        vector: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        concat = concat if concat is None else self.weighed(concat)
        return self.unet(x, c_noise, concat=concat, vector=vector, tokens=tokens)

    def weighed(self, concat: Tensor) -> Tensor:
        """The conditions with their weights."""
        given, rest = concat[:, : self.weighs], concat[:, self.weighs :]
        if not self.structured:
            given = torch.cat([given[:, : -self.regions], torch.zeros_like(given[:, -self.regions :])], 1)
        return torch.cat([self.weigh(given) if self.weighted else FIXED * given, rest], 1)

    def factors(self, concat: Tensor) -> Tensor:
        """Mean factor [B, R + 1] of the channels of each contrast, and of the regions."""
        weights = self.weigh.factors(concat[:, : self.weighs])
        latents = weights[:, : -self.regions].unflatten(1, (self.roles, self.latent_channels)).mean(2)
        return torch.cat([latents, weights[:, -self.regions :].mean(1, keepdim=True)], 1)

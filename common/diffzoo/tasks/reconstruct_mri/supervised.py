"""The supervised network that a diffusion prior is compared with: from the zero-filled image to the full one, in one call."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffzoo.networks.unet import CLEAN


def unaliased(network: nn.Module, zero_filled: Tensor) -> Tensor:
    """The full complex image [B, 2, H, W] by a network that tells what the zero-filled one [B, 2, H, W] lacks."""
    return zero_filled + network(zero_filled, zero_filled.new_full((len(zero_filled),), CLEAN))


def unaliasing_loss(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean absolute error of `unaliased` on {"image", "zero_filled"}, both [B, 2, H, W]."""
    return (unaliased(network, batch["zero_filled"]) - batch["image"]).abs().mean()


class SupervisedValidation:
    """PSNR (dB, for range 1) of the magnitude that `unaliased` gives."""

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.eval()
        image, zero_filled = (batch[key].to(engine.state.device) for key in ("image", "zero_filled"))
        found, wanted = (x.square().sum(1).sqrt() for x in (unaliased(engine.network, zero_filled), image))
        error = (found - wanted).square().flatten(1).mean(1).clamp(min=1e-12)
        engine.state.output = {"psnr": float(-10 * error.log10().mean())}
        return engine.state.output

"""The regression network that a translation is compared with, its loss, and the validation of both."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import expand_as
from diffzoo.diffusion.noise import stream
from diffzoo.networks.unet import CLEAN
from diffzoo.tasks.translate.conditions import expand_channels, wanted_of
from diffzoo.training.steps import conditions


def regress(network: nn.Module, targets: int, concat: Tensor, vector: Tensor) -> Tensor:
    """The targets [B, T, *] in one call: the same network as the diffusion's, its state empty and its noise level fixed."""
    empty = concat.new_zeros(len(concat), targets, *concat.shape[2:])
    return network(empty, concat.new_full((len(concat),), CLEAN), concat=concat, vector=vector)


def wanted_error(estimate: Tensor, truth: Tensor, vector: Tensor, power: int) -> Tensor:
    """Mean [B] of |found - truth|^power over the targets that are wanted."""
    wanted = expand_channels(wanted_of(vector, truth.shape[1]), truth)
    total = ((estimate - truth).abs() * wanted).pow(power).flatten(1).sum(1)
    return total / (wanted.flatten(1).sum(1).clamp(min=1) * truth[0, 0].numel())


def regression_loss(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean absolute error of `regress` on a batch of a translation's dataset."""
    truth = batch["image"]
    known = conditions(batch, truth.device)
    return wanted_error(regress(network, truth.shape[1], **known), truth, known["vector"], 1).mean()


class TranslationValidation:
    """PSNR (dB, for range 1) of what is wanted: of a denoising call at fixed levels and noise, or without levels of `regress`."""

    def __init__(self, levels: tuple[float, ...] = (), seed: int = 0) -> None:
        self.levels, self.seed = tuple(levels), seed

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.eval()
        truth, known = batch["image"].to(engine.state.device), conditions(batch, engine.state.device)
        errors = [wanted_error(x, truth, known["vector"], 2) for x in self._estimates(engine, truth, known)]
        values = [-10 * error.clamp(min=1e-12).log10().mean() for error in errors]
        engine.state.output = {"psnr": float(sum(values) / len(values))}
        return engine.state.output

    def _estimates(self, engine, truth: Tensor, known: Mapping[str, Tensor]) -> list[Tensor]:
        if not self.levels:
            return [regress(engine.network, truth.shape[1], **known)]
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        noise = torch.randn(truth.shape, generator=generator).to(truth) * expand_channels(
            wanted_of(known["vector"], truth.shape[1]), truth
        )
        estimates = []
        for level in self.levels:
            sigma = torch.full((len(truth),), level, device=truth.device)
            estimates.append(engine.inferer(truth + expand_as(sigma, truth) * noise, engine.network, sigma=sigma, **known))
        return estimates

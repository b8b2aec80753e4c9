"""The training and the validation step of a diffusion prior, as `iteration_update` of MONAI's engines."""

from collections.abc import Callable, Mapping
from operator import itemgetter

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import expand_as
from diffzoo.diffusion.noise import NoiseDraw, stream, white
from diffzoo.diffusion.schedule import SigmaDistribution

CONDITIONS = ("concat", "vector", "tokens")  # of a batch, handed to the network where they are there


class DiffusionStep:
    """One optimiser step of the denoising loss on `batch["image"]` [B, C, *S], given the batch's conditions.

    Sigma and noise of step k come from (seed, k) alone, so a resumed run draws what an uninterrupted one would. The engine
    gives network, optimizer, loss_function (as `diffusion.denoiser.loss`) and inferer (with `.denoiser(network)`). Raises
    ArithmeticError, before the weights move, when the loss or its gradient is not finite.
    """

    def __init__(self, sigmas: SigmaDistribution, seed: int = 0, clip_grad: float = 1.0, noise: NoiseDraw | None = None) -> None:
        self.sigmas, self.seed, self.clip_grad, self.noise = sigmas, seed, clip_grad, noise or white

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        x0 = batch["image"].to(engine.state.device)
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        sigma = self.sigmas(len(x0), generator).to(x0.device)
        noise = self.noise(x0, generator).to(x0.device)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        denoiser = engine.inferer.denoiser(engine.network)
        loss = engine.loss_function(denoiser, x0, sigma, noise, **conditions(batch, x0.device)).mean()
        loss.backward()
        slope = torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.clip_grad)
        if not (torch.isfinite(loss) and torch.isfinite(slope)):
            at = f"step {engine.state.iteration}: the loss is {loss.item():.3g}, the norm of its gradient {slope.item():.3g}"
            raise ArithmeticError(f"{at}; lower the learning rate, then start again: the last checkpoint is whole")
        engine.optimizer.step()
        engine.state.output = {"loss": loss.item()}
        return engine.state.output


class DenoisingValidation:
    """PSNR of one denoising call at fixed noise levels, on fixed noise: {"psnr": mean over levels, in dB for range 1}."""

    def __init__(self, levels: tuple[float, ...] = (0.03, 0.1, 0.3), seed: int = 0, noise: NoiseDraw | None = None) -> None:
        self.levels, self.seed, self.noise = tuple(levels), seed, noise or white

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        x0 = batch["image"].to(engine.state.device)
        engine.network.eval()
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        noise = self.noise(x0, generator).to(x0.device)
        values = []
        for level in self.levels:
            sigma = torch.full((len(x0),), level, device=x0.device)
            noisy = x0 + expand_as(sigma, x0) * noise
            error = engine.inferer(noisy, engine.network, sigma=sigma, **conditions(batch, x0.device)) - x0
            values.append(-10 * error.pow(2).flatten(1).mean(1).clamp(min=1e-12).log10().mean())
        engine.state.output = {"psnr": float(sum(values) / len(values))}
        return engine.state.output


def conditions(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """What of a batch conditions the network, on its device."""
    return {key: batch[key].to(device) for key in CONDITIONS if key in batch}


def output_of(key: str) -> Callable[[dict], float]:
    """Picks one value of an engine's output, for metrics and checks."""
    return itemgetter(key)

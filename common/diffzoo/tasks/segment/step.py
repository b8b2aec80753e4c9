"""Training of the masks' denoiser together with the ambiguity networks, and of the one-call network that it is compared with."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffzoo.diffusion.denoiser import Denoiser, expand_as
from diffzoo.diffusion.schedule import SigmaDistribution
from diffzoo.networks.unet import CLEAN
from diffzoo.training.adversarial import Companion
from diffzoo.training.distributed import mean, mean_gradients, place, shares
from diffzoo.training.steps import DiffusionStep, Term, advance, conditions


class AmbiguityStep(DiffusionStep):
    """A `DiffusionStep` whose objective has `weight` times the KL divergence of two Gaussians (Rahman et al. 2023, eq. 7).

    One is told by image and mask, the other by image and the noise that the denoiser finds; `ambiguity` holds both networks
    and their optimiser, which `freeze` leaves where they are. Their gradients reach the denoiser through its noise.
    Tells "loss" (of the denoising alone), "ambiguity_kl" (nats) and "ambiguity_slope", the norm of their gradient.
    """

    def __init__(
        self,
        ambiguity: Companion,
        sigmas: SigmaDistribution,
        weight: float = 1e-3,
        freeze: bool = False,
        seed: int = 0,
        clip_grad: float = 1.0,
        accumulate: int = 1,
        replay: Term | None = None,
    ) -> None:
        super().__init__(sigmas, seed, clip_grad, accumulate=accumulate, replay=replay)
        self.ambiguity, self.weight, self.freeze = ambiguity, weight, freeze

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        self.ambiguity.optimizer.zero_grad(set_to_none=True)
        self.kl = torch.zeros((), device=engine.state.device)
        super().__call__(engine, batch)
        mean_gradients(self.ambiguity.network)
        slope = nn.utils.clip_grad_norm_(self.ambiguity.network.parameters(), self.clip_grad)
        if not self.freeze:
            self.ambiguity.optimizer.step()
        engine.state.output |= {"ambiguity_kl": mean(self.kl).item(), "ambiguity_slope": slope.item()}
        return engine.state.output

    def _descend(self, engine, denoiser: Denoiser, batch: dict[str, Tensor]) -> Tensor:
        x0 = batch["image"].to(engine.state.device)
        sigma, noise = self.drawn(denoiser, x0, engine.state.iteration)
        given, total = conditions(batch, x0.device), torch.zeros((), device=x0.device)
        for part in shares(len(x0), self.accumulate):
            known = {key: value[part] for key, value in given.items()}
            watched = Watched(denoiser)
            losses = engine.loss_function(watched, x0[part], sigma[part], noise[part], **known)
            kl = self.ambiguity.network(known["concat"], x0[part], watched.noise)
            share = len(losses) * place()[1] / len(x0)
            ((losses.mean() + self.weight * kl.mean()) * share).backward()
            total += losses.detach().mean() * share
            self.kl += kl.detach().mean() * share
        return mean(total)


class Watched:
    """A denoiser that keeps the noise, of unit variance, which its last call found."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.precond = denoiser, denoiser.precond

    def __call__(self, x: Tensor, sigma: Tensor, **cond: Tensor) -> Tensor:
        estimate = self.denoiser(x, sigma, **cond)
        self.noise = (x - estimate) / expand_as(sigma, x)
        return estimate


def logits(network: nn.Module, concat: Tensor) -> Tensor:
    """Logits [B, 1, *S] of the mask in one call: the same network as the diffusion's, its state empty and its level fixed."""
    return network(torch.zeros_like(concat[:, :1]), concat.new_full((len(concat),), CLEAN), concat=concat)


class CrossEntropyStep:
    """One optimiser step of the cross entropy of `logits` with the mask of the reader that was drawn."""

    def __init__(self, clip_grad: float = 1.0) -> None:
        self.clip_grad = clip_grad

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(engine.network, batch, engine.state.device)
        loss.backward()
        return advance(engine, {"loss": loss.detach()}, self.clip_grad)


class CrossEntropyValidation:
    """Minus the mean cross entropy, in nats a pixel, {"score": ...}: higher is better."""

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.eval()
        engine.state.output = {"score": -float(cross_entropy(engine.network, batch, engine.state.device))}
        return engine.state.output


def cross_entropy(network: nn.Module, batch: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The mean over pixels of the cross entropy of a batch."""
    found = logits(network, batch["concat"].to(device))
    return F.binary_cross_entropy_with_logits(found, (batch["image"].to(device) > 0).float())

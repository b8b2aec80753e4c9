"""Training of the adversarial head: a denoiser of few large steps against a judge of neighbouring states (Xiao et al. 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.denoiser import expand_as
from diffzoo.diffusion.noise import stream
from diffzoo.networks.judge import pair
from diffzoo.training.adversarial import Companion, move
from diffzoo.training.steps import conditions


class PosteriorGanStep:
    """One step of judge and generator on `batch["image"]` [B, 1, *S] and its conditions; {"loss", "judge", "error"}.

    For a pair of neighbouring levels s > t of `sigmas`, drawn for each item: the judge tells x_t of the image from a draw of
    q(x_t | x_s, estimate), with the penalty `penalty` / 2 of its squared gradient at the real one; the generator then passes its
    draws for real. `pixel_weight` times the mean absolute error of the estimate is added, which the published loss has not: it
    keeps the CT numbers. All noise of step k is of (seed, k). The engine gives network, optimizer and inferer.
    """

    def __init__(
        self,
        judge: Companion,
        sigmas: Sequence[float],
        penalty: float = 0.05,
        pixel_weight: float = 1.0,
        seed: int = 0,
        clip: float = 1.0,
    ) -> None:
        self.judge, self.levels = judge, torch.tensor(list(sigmas))
        self.penalty, self.pixel_weight, self.seed, self.clip = penalty, pixel_weight, seed, clip

    @property
    def steps(self) -> int:
        """Levels that the generator is called at."""
        return len(self.levels) - 1

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.train()
        x0 = batch["image"].to(engine.state.device)
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        step = torch.randint(self.steps, (len(x0),), generator=generator)
        higher, level = (self.levels[step + k].to(x0) for k in (0, 1))
        first, second, third = (torch.randn(x0.shape, generator=generator).to(x0) for _ in range(3))
        real = x0 + expand_as(level, x0) * first
        noisier = real + expand_as((higher.square() - level.square()).sqrt(), x0) * second
        denoiser = engine.inferer.denoiser(engine.network)
        estimate = denoiser(noisier, higher, **conditions(batch, x0.device))
        fake = posterior(estimate, noisier, level, higher, third)
        seen = [pair(x, noisier, level, higher, step.to(x0.device), self.steps) for x in (real, fake)]
        terms = {"judge": self._judge(*seen)}
        engine.optimizer.zero_grad(set_to_none=True)
        error = (estimate - x0).abs().mean()
        terms["loss"] = F.softplus(-self.judge.frozen(seen[1])).mean() + self.pixel_weight * error
        terms["loss"].backward()
        pairs = ((engine.network, engine.optimizer), (self.judge.network, self.judge.optimizer))
        engine.state.output = move(engine, terms | {"error": error}, pairs, self.clip)
        return engine.state.output

    def _judge(self, real: Tensor, fake: Tensor) -> Tensor:
        """The judge's loss, its gradient left in its weights; the pairs are constants here."""
        self.judge.optimizer.zero_grad(set_to_none=True)
        real = real.detach().requires_grad_()
        scores = self.judge.network(real)
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        penalty = self.penalty / 2 * slope[:, :1].flatten(1).square().sum(1).mean()  # by the less noisy state alone
        loss = F.softplus(-scores).mean() + F.softplus(self.judge.network(fake.detach())).mean() + penalty
        loss.backward()
        return loss.detach()


def posterior(estimate: Tensor, noisier: Tensor, level: Tensor, higher: Tensor, noise: Tensor) -> Tensor:
    """A draw of q(x_t | x_s, x0 = estimate) [B, C, *S] for levels t < s [B]: the ancestral step with noise given."""
    share = expand_as((level / higher).square(), estimate)
    spread = expand_as(level * (1 - (level / higher).square()).sqrt(), estimate)
    return estimate + share * (noisier - estimate) + spread * noise

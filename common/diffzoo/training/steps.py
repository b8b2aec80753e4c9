"""The training and the validation step of a diffusion prior, as `iteration_update` of MONAI's engines."""

from collections.abc import Callable, Mapping
from operator import itemgetter

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser, expand_as
from diffzoo.diffusion.noise import NoiseDraw, stream, white
from diffzoo.diffusion.schedule import SigmaDistribution
from diffzoo.errors import InputError
from diffzoo.training.distributed import mean, mean_gradients, place, shares

OBJECTIVE = ("loss", "replay")  # of what a step tells, what it descends
CONDITIONS = ("concat", "vector", "tokens")  # of a batch, handed to the network where they are there
Term = Callable[[object, Denoiser], Tensor]  # (engine, denoiser) -> a scalar to be added to the loss, such as `replay.Replay`


class DiffusionStep:
    """One optimiser step of the denoising loss on `batch["image"]` [B, C, *S], given the batch's conditions.

    A batch may bring a part of the noise itself, "disturbance" [B, C, *S], which is added to what `noise` draws. Sigma and noise
    of step k come from (seed, k) alone, so a resumed run draws what an uninterrupted one would. The engine gives network,
    optimizer, loss_function (as `diffusion.denoiser.loss`) and inferer (with `.denoiser(network)`). `accumulate`
    parts of the batch go through one after the other and their gradients add up: the same step with less memory. Several
    processes share the batch. `replay` adds a term to the objective, told apart from the loss. Mixed precision is
    the inferer's `autocast`: bfloat16, which needs no scaled loss, on a GPU or on a CPU with AVX512-BF16 or AMX; on another CPU
    it is slower. Raises ArithmeticError, before the weights move, when the loss or its gradient is not finite.
    """

    REPLAY_TERM = "diffzoo.training.replay.Replay"  # what a fine-tuning hands over as `replay`

    def __init__(
        self,
        sigmas: SigmaDistribution,
        seed: int = 0,
        clip_grad: float = 1.0,
        noise: NoiseDraw | None = None,
        accumulate: int = 1,
        replay: Term | None = None,
    ) -> None:
        self.sigmas, self.seed, self.clip_grad, self.noise = sigmas, seed, clip_grad, noise or white
        self.accumulate, self.replay = checked_parts(accumulate), replay

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        denoiser = engine.inferer.denoiser(engine.network)
        terms = {"loss": self._descend(engine, denoiser, batch)}
        if self.replay is not None:
            term = self.replay(engine, denoiser)
            term.backward()
            terms["replay"] = mean(term.detach())
        return advance(engine, terms, self.clip_grad)

    def _descend(self, engine, denoiser: Denoiser, batch: dict[str, Tensor]) -> Tensor:
        """Adds the gradient of the loss of this process's share, and gives the loss of the whole batch."""
        x0 = batch["image"].to(engine.state.device)
        sigma, noise = self.drawn(denoiser, x0, engine.state.iteration)
        noise = noise + batch.get("disturbance", torch.zeros(())).to(x0)
        given, total = conditions(batch, x0.device), torch.zeros((), device=x0.device)
        for part in shares(len(x0), self.accumulate):
            known = {key: value[part] for key, value in given.items()}
            losses = engine.loss_function(denoiser, x0[part], sigma[part], noise[part], **known)
            loss = losses.mean() * (len(losses) * place()[1] / len(x0))
            loss.backward()
            total += loss.detach()
        return mean(total)

    def drawn(self, denoiser: Denoiser, x0: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
        """Levels [B] and noise [B, C, *S] of a step, from (seed, iteration) alone."""
        generator = torch.Generator().manual_seed(stream(self.seed, iteration))
        sigma = self.sigmas(len(x0), generator)
        return sigma.to(x0.device), self.noise(x0, generator).to(x0.device)


class RegressionStep:
    """One optimiser step of `loss(network, batch)`, a scalar, for a network that answers in one call: no noise is drawn.

    The batch is on the engine's device. Raises ArithmeticError as `DiffusionStep`.
    """

    def __init__(self, loss: Callable[[nn.Module, Mapping[str, Tensor]], Tensor], clip_grad: float = 1.0) -> None:
        self.loss, self.clip_grad = loss, clip_grad

    def __call__(self, engine, batch: Mapping[str, Tensor]) -> dict:
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(engine.network, {key: value.to(engine.state.device) for key, value in batch.items()})
        loss.backward()
        return advance(engine, {"loss": loss.detach()}, self.clip_grad)


def advance(engine, terms: Mapping[str, Tensor], clip_grad: float) -> dict[str, float]:
    """Moves the weights by the gradients of a step; what the step tells, as numbers.

    terms: the objective's terms ("loss", "replay") and what else is known. Several processes go by the mean of their gradients.
    Raises ArithmeticError, before the weights move, when the objective or its gradient is not finite.
    """
    mean_gradients(engine.network)
    slope = torch.nn.utils.clip_grad_norm_(engine.network.parameters(), clip_grad)
    loss = sum(terms[key] for key in OBJECTIVE if key in terms)
    if not (torch.isfinite(loss) and torch.isfinite(slope)):
        at = f"step {engine.state.iteration}: the loss is {loss.item():.3g}, the norm of its gradient {slope.item():.3g}"
        raise ArithmeticError(f"{at}; lower the learning rate, then start again: the last checkpoint is whole")
    engine.optimizer.step()
    engine.state.output = {key: value.item() for key, value in terms.items()}
    return engine.state.output


def checked_parts(accumulate: int) -> int:
    """The number of parts in which a batch goes through; ValueError below 1."""
    if accumulate < 1:
        raise ValueError(f"a batch goes through in 1 part or more, not {accumulate}: set accumulate to 1 or more")
    return accumulate


class MemoryTold:
    """A training step around which a lack of memory becomes an InputError of one line, with the batch size that would fit.

    That is found by steps on ever smaller halves of the batch at a learning rate of 0. In several processes, which would wait for
    each other, nothing is tried and half of the batch is named.
    """

    def __init__(self, step: Callable) -> None:
        self.step = step

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        if (done := _tried(self.step, engine, batch)) is not None:
            return done
        items = len(batch["image"])
        for group in engine.optimizer.param_groups:
            group["lr"] = 0.0
        fits = items // 2
        while place()[1] == 1 and fits and _tried(self.step, engine, {key: value[:fits] for key, value in batch.items()}) is None:
            fits //= 2
        if not fits:
            raise InputError("out of memory even with a batch of 1: train on smaller images, or on a machine with more memory")
        parts = getattr(self.step, "accumulate", 0) * -(-items // fits)
        alike = f", or accumulate to {parts} for the same result" if parts else ""
        raise InputError(f"out of memory with a batch of {items}; {fits} fit: set batch_size to {fits}{alike}")


def _tried(step: Callable, engine, batch: dict[str, Tensor]) -> dict | None:
    """What a step gives; None where it lacks memory, of which its remains are freed."""
    try:
        return step(engine, batch)
    except (MemoryError, RuntimeError) as error:
        words = ("can't allocate memory", "not enough memory", "out of memory")
        if not (isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)):
            raise
    engine.optimizer.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


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

"""The training and the validation step of a classifier of noisy images, as `iteration_update` of MONAI's engines."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.denoiser import expand_as
from diffzoo.diffusion.noise import stream, white
from diffzoo.diffusion.precond import Precond
from diffzoo.diffusion.schedule import SigmaDistribution
from diffzoo.training.distributed import place, shares
from diffzoo.training.steps import advance


class ClassifierStep:
    """One optimiser step of the cross-entropy of log p(label | x0 + sigma n) (Dhariwal & Nichol 2021, sec. 4.1).

    batch: "image" [B, C, *S], "concat", "facts" [B, E] (what is known of a slice but its label) and "label" [B]; items of label
    -1 do not count. Inputs are scaled as `precond` scales those of the diffusion network. Sigma and noise of step k come from
    (seed, k) alone; with `paired` the second half of a batch gets those of the first: twins differ by their lesions alone.
    Several processes share the batch. Raises ArithmeticError as `training.steps.advance`.
    """

    def __init__(
        self, precond: Precond, sigmas: SigmaDistribution, seed: int = 0, clip_grad: float = 1.0, paired: bool = False
    ) -> None:
        self.precond, self.sigmas, self.seed, self.clip_grad, self.paired = precond, sigmas, seed, clip_grad, paired

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        x0, generator = batch["image"], torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        sigma, noise = self.sigmas(len(x0), generator), white(x0, generator)
        if self.paired:
            half = len(x0) // 2
            sigma, noise = torch.cat([sigma[:half]] * 2), torch.cat([noise[:half]] * 2)
        count, loss = (batch["label"] >= 0).sum().clamp(min=1), torch.zeros((), device=engine.state.device)
        for part in shares(len(x0), 1):
            logits = noisy_logits(engine, self.precond, batch, sigma, noise, part)
            label = batch["label"][part].to(logits.device)
            term = F.cross_entropy(logits, label, ignore_index=-1, reduction="sum") * (place()[1] / count)
            term.backward()
            loss += term.detach()
        return advance(engine, {"loss": loss}, self.clip_grad)


class ClassifierValidation:
    """Share of right verdicts at fixed noise levels, on fixed noise: {"accuracy": mean over levels}, of items with a label."""

    def __init__(self, precond: Precond, levels: Sequence[float] = (0.05, 0.2, 0.5), seed: int = 0) -> None:
        self.precond, self.levels, self.seed = precond, tuple(levels), seed

    @torch.no_grad()
    def __call__(self, engine, batch: Mapping[str, Tensor]) -> dict:
        engine.network.eval()
        x0, generator = batch["image"], torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        noise, known = white(x0, generator), batch["label"] >= 0
        right = []
        for level in self.levels:
            sigma = torch.full((len(x0),), float(level))
            logits = noisy_logits(engine, self.precond, batch, sigma, noise, slice(None)).cpu()
            right.append((logits.argmax(1) == batch["label"])[known].float().mean())
        engine.state.output = {"accuracy": float(torch.stack(right).nanmean())}
        return engine.state.output


def noisy_logits(engine, precond: Precond, batch: Mapping[str, Tensor], sigma: Tensor, noise: Tensor, part: slice) -> Tensor:
    """Logits [B, K] of a part of a batch at levels sigma [B] under the given noise."""
    device = engine.state.device
    x = (batch["image"][part] + expand_as(sigma[part], noise[part]) * noise[part]).to(device)
    _, _, scale, label = precond(sigma[part].to(device))
    given = {"concat": batch["concat"][part].to(device), "vector": batch["facts"][part].to(device)}
    return engine.network(expand_as(scale, x) * x, label, **given)

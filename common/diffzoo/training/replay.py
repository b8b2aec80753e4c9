"""Replay of what a network could do before fine-tuning, against forgetting (generative replay: Shin et al. 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from diffzoo.diffusion.denoiser import Denoiser, expand_as
from diffzoo.diffusion.noise import NoiseDraw, stream, white
from diffzoo.diffusion.precond import Precond
from diffzoo.diffusion.samplers import euler
from diffzoo.diffusion.schedule import SigmaDistribution, log_snr
from diffzoo.networks.lora import merged
from diffzoo.training.distributed import place, shares
from diffzoo.training.steps import conditions


class OldBatches:
    """Batches of old data for the steps of a training, and the weight of what they add to its objective.

    Step k has batch (k - 1) mod the length of the dataset, each pass through it being an epoch of its own, which the dataset is
    told as `handlers.EpochOf` tells it. Raises ValueError for a negative weight.
    """

    def __init__(self, batches: Dataset, weight: float = 1.0) -> None:
        if weight < 0:
            raise ValueError(f"the weight of the replay must not be negative, not {weight}")
        self.batches, self.weight = batches, weight

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of step 1, 2, ..."""
        passed, index = divmod(step - 1, len(self.batches))
        self.batches.epoch = passed + 1
        return self.batches[index]


class Replay:
    """weight x mean |D(x) - D_parent(x)|^2 / c_out^2 at x = x0 + sigma n, a term of `DiffusionStep`'s objective; 0 at the start.

    x0 are the images [B, C, *S] of `batches`, a dataset of batches of old data, or `ParentSamples` where there are none: those of
    `OldBatches` at step k, with sigma and noise from (seed, k). The parent is the network as it stands when this is
    made, with its adapters folded in. The weight is 1 / c_out^2, as that of `diffusion.denoiser.loss`.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Dataset,
        sigmas: SigmaDistribution,
        weight: float = 1.0,
        seed: int = 0,
        noise: NoiseDraw | None = None,
    ) -> None:
        self.old, self.parent = OldBatches(batches, weight), frozen(network)
        self.sigmas, self.seed, self.noise = sigmas, seed, noise or white

    def __call__(self, engine, denoiser: Denoiser) -> Tensor:
        """The term of step `engine.state.iteration`, a scalar; of several processes each has its share of the batch."""
        step = engine.state.iteration
        batch = self.old.batch(step)
        x0 = batch["image"].to(engine.state.device)
        generator = torch.Generator().manual_seed(stream(self.seed, step, 1))
        sigma = self.sigmas(len(x0), generator).to(x0.device)
        x = x0 + expand_as(sigma, x0) * self.noise(x0, generator).to(x0.device)
        [part] = shares(len(x0))
        known = {key: value[part] for key, value in conditions(batch, x0.device).items()}
        with torch.no_grad():
            target = engine.inferer.denoiser(self.parent)(x[part], sigma[part], **known)
        error = denoiser(x[part], sigma[part], **known) - target
        each = error.pow(2).flatten(1).mean(1) / denoiser.precond(sigma[part])[1] ** 2
        return self.old.weight * each.mean() * (len(each) * place()[1] / len(x0))


class ParentSamples(Dataset):
    """Batches of another dataset whose images the parent has drawn anew, under their conditions: replay without old data.

    The first `batches` batches of `like` are noised to `sigma` and denoised in `steps` Euler steps down to `low` and 0, once. A
    sigma far above the data's spread leaves nothing of the images but their shape: pure samples of the parent. It should lie in
    the range that the parent was trained on, and `noise` be what it was trained with. Kept in half precision on the CPU.
    """

    def __init__(
        self,
        network: nn.Module,
        precond: Precond,
        like: Sequence[dict[str, Tensor]],
        batches: int = 4,
        sigma: float = 5.0,
        steps: int = 12,
        low: float = 0.02,
        seed: int = 0,
        noise: NoiseDraw | None = None,
    ) -> None:
        denoiser, grid = Denoiser(frozen(network), precond), log_snr(steps, low, sigma)
        self.batches = []
        for index in range(min(batches, len(like))):
            batch, generator = like[index], torch.Generator().manual_seed(stream(seed, index))
            image = batch["image"]
            x = image + sigma * (noise or white)(image, generator)
            device = next(network.parameters()).device
            drawn = euler(denoiser.bind(**conditions(batch, device)), x.to(device), grid)
            self.batches.append(batch | {"image": drawn.half().cpu()})

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.batches[index] | {"image": self.batches[index]["image"].float()}


def frozen(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that does not train, with its adapters folded in."""
    return merged(network).eval().requires_grad_(False)

"""What adversarial training needs beside a step: networks that train along with the main one, their losses, and their move."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from diffzoo.diffusion.noise import stream
from diffzoo.training.distributed import mean, mean_gradients
from diffzoo.training.setup import prepare

Scores = Sequence[Tensor]  # of each discriminator, [B, 1, *S]


class Companion:
    """A network that trains beside the main one, such as a discriminator, and its own optimiser.

    It has a state dict, so a run resumes where it is among the `objects` of `handlers.Resume`. It is no part of what is shipped.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network, self.optimizer = network, optimizer

    def state_dict(self) -> dict:
        """Weights and moments."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping) -> None:
        """Goes on from such a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def frozen(self, x: Tensor):
        """What the network answers to x, as a constant network would: gradients reach x, and not the weights."""
        return functional_call(self.network, self.network.state_dict(), (x,))  # the tensors of a state dict are detached


def companion(network: nn.Module, lr: float, seed: int = 0, device: torch.device | None = None) -> Companion:
    """One whose network is initialised anew from a seed, with the Adam of Park et al. 2019, without a first moment."""
    network = prepare(network, None, stream(seed, 1), device or torch.device("cpu"))
    return Companion(network, torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9)))


def judged(answer) -> tuple[list[Tensor], list[Tensor]]:
    """Scores of each discriminator, and the features of all their layers, from the answer of MONAI's patch discriminators."""
    if isinstance(answer, tuple):  # of several scales
        scores, features = answer
        return list(scores), [layer for each in features for layer in each]
    return [answer[-1]], list(answer[:-1])


def least_squares(scores: Scores, target: float) -> Tensor:
    """Mean of (score - target)^2 (Mao et al. 2017, eq. 9): 1 for the real, and for fakes that should pass; 0 for fakes."""
    return torch.stack([(s.float() - target).square().mean() for s in scores]).mean()


def hinge(scores: Scores, sign: float) -> Tensor:
    """Mean of max(0, 1 - sign score), the discriminator's loss: sign 1 for the real, -1 for fakes (Lim & Ye 2017)."""
    return torch.stack([(1 - sign * s.float()).relu().mean() for s in scores]).mean()


def unconvinced(scores: Scores) -> Tensor:
    """Minus the mean score, the generator's side of the hinge loss."""
    return -torch.stack([s.float().mean() for s in scores]).mean()


def feature_distance(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of features, averaged over layers; the wanted ones are constants (Wang et al. 2018, eq. 4)."""
    return torch.stack([(f.float() - w.detach().float()).abs().mean() for f, w in zip(features, wanted, strict=True)]).mean()


def gaussian_kl(mean: Tensor, sd: Tensor) -> Tensor:
    """Divergence of N(mean, sd^2) from N(0, 1), in nats, of each entry."""
    return (mean.float().square() + sd.float().square() - 1) / 2 - sd.float().log()


def move(engine, terms: Mapping[str, Tensor], pairs: Iterable[tuple[nn.Module, torch.optim.Optimizer]], clip: float) -> dict:
    """Moves each network by its gradient, of at most that norm, and gives the terms as numbers, means over all processes.

    Raises ArithmeticError, before any weight moves, when a term or a gradient is not finite.
    """
    pairs, figures, slopes = list(pairs), {key: mean(value.detach()) for key, value in terms.items()}, []
    for network, _ in pairs:
        mean_gradients(network)
        slopes.append(torch.nn.utils.clip_grad_norm_(network.parameters(), clip))
    named = figures | {f"norm of gradient {number}": slope for number, slope in enumerate(slopes, 1)}
    if not torch.stack([value.float().cpu() for value in named.values()]).isfinite().all():
        which = ", ".join(f"{key} {value.item():.3g}" for key, value in named.items())
        at = f"step {engine.state.iteration}: not all is finite ({which})"
        raise ArithmeticError(f"{at}; lower the learning rate, then start again: the last checkpoint is whole")
    for _, optimizer in pairs:
        optimizer.step()
    return {key: value.item() for key, value in figures.items()}

"""A training run of one small network on a toy's data, with the engine that Ignite gives: for tests of what stands around it."""

from collections.abc import Iterator

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import EMA, Denoiser, loss
from diffzoo.diffusion.precond import edm
from diffzoo.training.draws import BatchDataset

CPU = torch.device("cpu")


class Toy(nn.Module):
    """A network of two convolutions that sees the noise level."""

    def __init__(self, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        generator = torch.Generator().manual_seed(seed)
        for value in self.parameters():
            value.data = 0.2 * torch.randn(value.shape, generator=generator)

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        label = c_noise.view(-1, 1, 1, 1).expand_as(x)
        return self.last(torch.tanh(self.first(torch.cat([x, label], 1))))


class Shades(BatchDataset):
    """Batches of even images of a shade about `mean`, a function of seed, epoch and index."""

    def __init__(self, mean: float = 0.5, batch_size: int = 4, batches: int = 5, size: int = 8, seed: int = 0) -> None:
        super().__init__(batch_size, batches, seed)
        self.mean, self.size = mean, size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[index] for index in range(len(self)))

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        shade = self.mean + 0.1 * torch.randn((self.batch_size, 1, 1, 1), generator=generator)
        return {"image": shade.expand(-1, 1, self.size, self.size).clone()}


class EDM:
    """An inferer, as far as a step needs one."""

    def denoiser(self, network: nn.Module) -> Denoiser:
        return Denoiser(network, edm(0.5))


def levels(batch: int, generator: torch.Generator) -> Tensor:
    """Noise levels between 0.1 and 1.1."""
    return torch.rand(batch, generator=generator) + 0.1


def trainer(step, network: nn.Module, lr: float = 0.02, kind=torch.optim.AdamW) -> Engine:
    """An engine with what a step asks for."""
    engine = Engine(step)
    engine.network, engine.optimizer = network, kind(network.parameters(), lr=lr)
    engine.loss_function, engine.inferer = loss, EDM()
    engine.state.device = CPU
    engine.ema = EMA(network, decay=0.9)
    return engine


def error(network: nn.Module, mean: float) -> float:
    """Denoising loss on fresh shades about `mean`, at fixed noise."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(11)
        x0 = Shades(mean, batch_size=64, seed=9)[0]["image"]
        noise = torch.randn(x0.shape, generator=generator)
        return float(loss(EDM().denoiser(network), x0, levels(64, generator), noise).mean())


def same(a, b) -> bool:
    """Whether two states, as state_dict gives them, are equal to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b

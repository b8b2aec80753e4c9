"""The adversarial step: its posterior in closed form, who learns from whom, the same draws for the same step."""

import math
from itertools import pairwise

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.samplers import ancestral
from diffzoo.diffusion.short_schedule import short_levels
from diffzoo.networks.judge import PairJudge
from diffzoo.tasks.translate.gan_step import PosteriorGanStep, posterior
from diffzoo.training.adversarial import Companion


class Painter(nn.Module):
    """Two convolutions that see the condition."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        return self.body(torch.cat([x, concat], 1))


class Inferer:
    def denoiser(self, network):
        return Denoiser(network, edm(0.4))


def judge(lr: float = 1e-3) -> Companion:
    torch.manual_seed(1)
    network = PairJudge(6, (8, 8))
    return Companion(network, torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9)))


def trainer(step, lr: float = 2e-3) -> Engine:
    engine = Engine(step)
    engine.network, engine.inferer = Painter(), Inferer()
    engine.optimizer, engine.state.device = torch.optim.Adam(engine.network.parameters(), lr=lr), torch.device("cpu")
    return engine


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = (torch.rand((4, 1, 16, 16), generator=generator) > 0.5).float()
    return {"image": image, "concat": image - 0.5}


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_posterior_is_the_ancestral_step():
    generator = torch.Generator().manual_seed(0)
    x, estimate, noise = torch.randn((3, 1, 1, 3, 3), generator=generator, dtype=torch.float64)
    for s, t in pairwise(short_levels(4)):
        found = posterior(estimate, x, *torch.tensor([[t], [s]], dtype=torch.float64), noise)
        wanted = ancestral(lambda x, sigma: estimate, x, [s, t], noise=lambda x: noise)
        torch.testing.assert_close(found, wanted)


def test_draws_of_the_posterior_with_the_true_image_have_the_spread_of_the_level():
    generator, count = torch.Generator().manual_seed(0), 200_000
    first, second = (torch.randn((count, 1, 1, 1), generator=generator) for _ in range(2))
    high, low = torch.full((count,), 0.8), torch.full((count,), 0.5)
    found = posterior(torch.full((count, 1, 1, 1), 0.3), 0.3 + 0.8 * first, low, high, second)
    assert float(found.mean()) == pytest.approx(0.3, abs=0.01) and float(found.std()) == pytest.approx(0.5, rel=0.01)


def test_generator_and_judge_move_and_the_same_step_draws_the_same():
    told, moved = [], []
    for _ in range(2):
        step = PosteriorGanStep(judge(), short_levels(4))
        engine = trainer(step)
        before = weights(engine.network), weights(step.judge.network)
        engine.run([batch()], max_epochs=1)
        told.append(engine.state.output)
        moved.append((weights(engine.network), weights(step.judge.network)))
        assert all(not torch.equal(a, b) for a, b in zip(before, moved[-1], strict=True))
    assert told[0] == told[1] and set(told[0]) == {"loss", "judge", "error"}
    assert all(torch.equal(a, b) for a, b in zip(*moved, strict=True))
    assert told[0]["judge"] == pytest.approx(2 * math.log(2), abs=0.3)  # it cannot tell yet


def test_the_judge_learns_to_tell_and_the_generator_nears_the_image():
    step = PosteriorGanStep(judge(4e-3), short_levels(4))
    frozen = trainer(step, lr=0.0)
    frozen.run([batch(k) for k in range(60)], max_epochs=1)
    assert frozen.state.output["judge"] < 0.8 * 2 * math.log(2)
    engine, errors = trainer(PosteriorGanStep(judge(), short_levels(4), pixel_weight=5.0), lr=5e-3), []
    for k in range(60):
        engine.run([batch(k)], max_epochs=1)
        errors.append(engine.state.output["error"])
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])


def test_the_judge_is_a_constant_to_the_generator():
    step = PosteriorGanStep(judge(0.0), short_levels(4), penalty=0.0)
    engine = trainer(step)
    before = weights(step.judge.network)
    engine.run([batch()], max_epochs=1)
    assert torch.equal(weights(step.judge.network), before)
    with pytest.raises(ArithmeticError, match="not all is finite"):
        engine.run([{**batch(), "image": torch.full((4, 1, 16, 16), float("nan"))}], max_epochs=1)

"""The short schedule against the published table, and its levels against a DDPM table of the same betas."""

import math
from itertools import pairwise

import pytest
import torch

from diffzoo.diffusion.samplers import ancestral
from diffzoo.diffusion.short_schedule import short_alphas, short_levels


def test_the_table_of_four_steps_is_the_published_one():
    bars = short_alphas(4)
    assert [math.sqrt(bar) for bar in bars] == pytest.approx([1, 0.974, 0.922, 0.849, 0.760], abs=1e-3)
    assert [math.sqrt(1 - bar) for bar in bars[1:]] == pytest.approx([0.228, 0.387, 0.529, 0.650], abs=1e-3)
    assert [1 - b / a for a, b in pairwise(bars)] == pytest.approx([0.0519, 0.1036, 0.1526, 0.1988], abs=1e-4)


def test_a_refined_schedule_starts_at_the_same_level_and_the_long_one_leaves_nothing_of_the_image():
    assert short_levels(20)[0] == pytest.approx(short_levels(4)[0], abs=1e-12)
    assert len(short_levels(20)) == 21 and short_levels(20) == sorted(short_levels(20), reverse=True)
    assert math.sqrt(short_alphas(4, 20.0)[-1]) == pytest.approx(0.0066, abs=1e-4)


def test_an_ancestral_step_is_the_posterior_of_the_card():
    bars, levels = short_alphas(4), short_levels(4)
    x0, noisy = torch.tensor([[[[0.3]]]]).double(), torch.tensor([[[[0.9]]]]).double()  # the estimate, and x_3 of the VP process
    k, beta = 3, 1 - bars[3] / bars[2]
    mean = beta * math.sqrt(bars[k - 1]) / (1 - bars[k]) * x0 + (1 - bars[k - 1]) * math.sqrt(1 - beta) / (1 - bars[k]) * noisy
    spread = math.sqrt(beta * (1 - bars[k - 1]) / (1 - bars[k]))

    def step(value: float) -> torch.Tensor:
        fresh = lambda x: value * torch.ones_like(x)  # noqa: E731
        return ancestral(lambda x, sigma: x0, noisy / math.sqrt(bars[k]), levels[1:3], noise=fresh)

    scale = math.sqrt(bars[k - 1])
    torch.testing.assert_close(step(0.0) * scale, mean)
    torch.testing.assert_close((step(1.0) - step(0.0)) * scale, torch.full_like(mean, spread))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"beta_max": 0.05}, {"beta_min": 0.0}])
def test_what_is_no_schedule_is_refused(wrong):
    with pytest.raises(ValueError, match="a schedule needs"):
        short_alphas(**wrong)

"""Speckle: its law in decibels, its width, and the noise of the same width for training."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diffzoo.diffusion.noise import blurred, correlated
from diffzoo.imaging.speckle import log_bias, log_sd, log_speckle

DECIBELS = 10 / math.log(10)


def drawn(looks: int, width: float = 0.0, seed: int = 0) -> torch.Tensor:
    return log_speckle((4, 256, 256), looks, width, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("looks", [1, 2, 4])
def test_moments_are_those_of_the_log_of_a_gamma_variable(looks):
    law = stats.loggamma(looks, loc=-math.log(looks))
    assert log_bias(looks) == pytest.approx(DECIBELS * law.mean(), abs=1e-9)
    assert log_sd(looks) == pytest.approx(DECIBELS * law.std(), abs=1e-6)
    speckle = drawn(looks)
    assert float(speckle.mean()) == pytest.approx(0, abs=0.05)
    assert float(speckle.std()) == pytest.approx(log_sd(looks), rel=0.01)


def test_intensity_of_one_frame_is_exponential():
    power = 10 ** ((drawn(1) + log_bias(1)) / 10)
    sample = power.flatten()[::37].numpy()
    assert stats.kstest(sample, "expon").pvalue > 0.01


@pytest.mark.parametrize("width", [0.0, 0.6, 1.5])
def test_the_point_spread_joins_neighbours_and_leaves_the_law(width):
    field = blurred(torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0)), width)
    assert float(field.var()) == pytest.approx(1, rel=0.03)
    beside = float((field[..., 1:] * field[..., :-1]).mean())
    kernel = np.exp(-(np.arange(-16, 17) ** 2) / (2 * width**2)) if width else np.eye(33)[16]
    assert beside == pytest.approx((kernel[1:] * kernel[:-1]).sum() / (kernel**2).sum(), abs=0.03)
    assert float(drawn(1, width).std()) == pytest.approx(log_sd(1), rel=0.03)


def test_speckle_follows_from_its_generator_and_needs_a_frame():
    assert torch.equal(drawn(2, 0.6), drawn(2, 0.6)) and not torch.equal(drawn(2, 0.6), drawn(2, 0.6, seed=1))
    with pytest.raises(ValueError, match="one frame at least"):
        drawn(0)


def test_training_noise_has_variance_one_and_a_width_of_its_own_an_item():
    like = torch.zeros(6, 1, 128, 96)
    noise = correlated((0.3, 1.2))(like, torch.Generator().manual_seed(0))
    assert noise.shape == like.shape
    torch.testing.assert_close(noise.flatten(1).var(1), torch.ones(6), atol=0.08, rtol=0)
    beside = (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3))
    assert float(beside.max() - beside.min()) > 0.1
    white = correlated((0.0, 0.0))(like, torch.Generator().manual_seed(0))
    assert abs(float((white[..., 1:] * white[..., :-1]).mean())) < 0.01
    with pytest.raises(ValueError, match="0 or more to no less"):
        correlated((1.0, 0.5))

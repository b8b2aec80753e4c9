"""The divergence of the reverse transition: its factor by two formulas, its value for Gaussian data, and known sites."""

import math

import pytest
import torch

from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.samplers import ancestral, euler
from diffzoo.diffusion.schedule import linear_alphas, log_snr, sigmas_of
from diffzoo.diffusion.transition import kl_factor, known, transition_kl

ALPHAS = linear_alphas()


@pytest.mark.parametrize("t", [1, 50, 400, 600, 999])
def test_the_factor_is_that_of_the_two_gaussians_and_of_a_scaled_error_of_the_noise(t):
    now, before, beta = float(ALPHAS[t]), float(ALPHAS[t - 1]), 1 - float(ALPHAS[t] / ALPHAS[t - 1])
    variance = beta * (1 - before) / (1 - now)
    x0, estimate, noise = 0.7, 0.2, -1.3
    x = math.sqrt(now) * x0 + math.sqrt(1 - now) * noise

    def mean(guess):
        return math.sqrt(before) * beta / (1 - now) * guess + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x

    found = kl_factor(ALPHAS, t) * (x0 - estimate) ** 2
    assert found == pytest.approx((mean(x0) - mean(estimate)) ** 2 / (2 * variance), rel=1e-5)
    guessed = (x - math.sqrt(now) * estimate) / math.sqrt(1 - now)
    scale = beta**2 / (2 * variance * (1 - beta) * (1 - now))
    assert found == pytest.approx(scale * (guessed - noise) ** 2, rel=1e-5)


def test_the_divergence_of_gaussian_data_has_its_expected_value():
    """Of data N(0, 1) and its exact denoiser x / (1 + sigma^2) the error of x0 has the mean square sigma^2 / (1 + sigma^2)."""
    x0, times = Gaussian([0, 1])(torch.empty(2, 8, 64, 64)), [100, 400, 600]
    found = transition_kl(lambda x, s: x / (1 + s**2), x0, ALPHAS, times, Gaussian([2, 3]))
    sigmas = sigmas_of(ALPHAS)
    wanted = sum(kl_factor(ALPHAS, t) * float(sigmas[t] ** 2 / (1 + sigmas[t] ** 2)) for t in times) / len(times)
    assert found.shape == (2, 1, 64, 64) and float(found.mean()) == pytest.approx(wanted, rel=0.02)


def test_what_the_prior_does_not_know_stands_out_at_its_site():
    x0 = torch.zeros(1, 4, 8, 8)
    x0[..., 3, 5] = 4.0
    found = transition_kl(lambda x, s: torch.zeros_like(x), x0, ALPHAS, [500], Gaussian([0]))[0, 0]
    assert found[3, 5] == pytest.approx(16 * kl_factor(ALPHAS, 500)) and found.sum() == found[3, 5]


def test_times_out_of_the_table_are_refused():
    for times, words in (([], "one time"), ([0], "time index"), ([1000], "time index")):
        with pytest.raises(ValueError, match=words):
            transition_kl(lambda x, s: x, torch.zeros(1, 1, 4, 4), ALPHAS, times, Gaussian([0]))


@pytest.mark.parametrize("sampler", [ancestral, euler])
def test_known_sites_end_exactly_where_they_were_and_free_ones_are_drawn(sampler):
    x0, free = Gaussian([0])(torch.empty(1, 2, 8, 8)), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    free[..., 2:5, 2:5] = True
    sigmas, noise = log_snr(12, 0.02, 3.0), Gaussian([1])
    denoise = known(lambda x, s: torch.full_like(x, 5.0), x0, free)
    drawn = sampler(denoise, x0 + sigmas[0] * noise(x0), sigmas, noise=noise)
    assert torch.allclose(torch.where(free, 5.0, drawn), torch.where(free, 5.0, x0), atol=1e-5)
    assert torch.allclose(drawn[free.expand_as(drawn)], torch.tensor(5.0), atol=1e-5)


def test_a_known_site_has_the_noise_of_each_level_on_the_way():
    """Of an ancestral step, which then draws q(x_(t-1) | x_t, x0)."""
    x0, sigmas, seen = torch.full((1, 1, 200, 200), 0.3), log_snr(6, 0.1, 3.0), []
    noise, free = Gaussian([1]), torch.zeros(1, 1, 200, 200, dtype=torch.bool)
    watch = lambda i, sigma, x, estimate: seen.append((sigma, float((x - x0).std())))  # noqa: E731
    ancestral(known(lambda x, s: x, x0, free), x0 + sigmas[0] * noise(x0), sigmas, noise=noise, callback=watch)
    assert len(seen) == 6 and all(spread == pytest.approx(sigma, rel=0.02, abs=1e-6) for sigma, spread in seen)

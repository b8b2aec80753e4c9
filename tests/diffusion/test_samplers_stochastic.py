"""Stochastic samplers: the exact law of their results on Gaussian data, and closed forms of single steps."""

import math
from functools import partial

import pytest
import torch
from gaussian_toy import F64, Gaussian16, cov_error, law, seeded

from diffzoo.diffusion import samplers
from diffzoo.diffusion.schedule import log_snr, time_travel

TOY = Gaussian16(size=4)


def result_law(sampler, grid, toy=TOY):
    spread = toy.spectral((toy.var + grid[0] ** 2).sqrt())
    return law(lambda x, noise: sampler(toy.denoise, x, grid, noise=noise), toy.mu, spread)


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (samplers.euler, 1),
        (partial(samplers.ancestral, eta=1.0), 1),
        (partial(samplers.ancestral, eta=0.5), 1),
        (partial(samplers.euler_maruyama, sde="ve"), 1),
        (partial(samplers.euler_maruyama, sde="vp"), 1),
        (partial(samplers.euler_maruyama, sde="sub_vp"), 1),
        (partial(samplers.dpmpp_2m, eta=1.0), 1),
        (partial(samplers.dpmpp_2m, eta=0.0), 2),
        (partial(samplers.heun, churn=10.0), 2),
    ],
)
def test_covariance_converges(sampler, order):
    """From the true law at the top level to the true law N(mu, C + low^2) below, at the rate of the step."""
    low, errors = 0.05, []
    for steps in (60, 120):
        mean, cov = result_law(sampler, log_snr(steps + 1, low, 5.0)[:-1])
        errors.append(cov_error(cov, TOY.cov + low**2 * torch.eye(4, dtype=F64)))
        assert torch.allclose(mean, TOY.mu, atol=5e-3)
    assert errors[1] < 0.08
    assert math.log2(errors[0] / errors[1]) > order - 0.35


def test_second_order_sde_solver_beats_first_order():
    errors = [cov_error(result_law(s, log_snr(25, 0.02, 20.0))[1], TOY.cov) for s in SDE_PAIR]
    assert errors[0] < errors[1] / 3


SDE_PAIR = (partial(samplers.dpmpp_2m, eta=1.0), partial(samplers.ancestral, eta=1.0))


def test_churn_adds_and_removes_the_same_noise():
    """One churned step to 0 from the true law: variance J^2 (c + s_hat^2), s_hat the raised level."""
    toy, grid = Gaussian16(size=1), [2.0, 0.0]
    raised = 2.0 * (1 + min(0.3, math.sqrt(2) - 1))
    shrink = float(toy.var) / (float(toy.var) + raised**2)
    _, cov = result_law(partial(samplers.heun, churn=0.3), grid, toy)
    assert float(cov) == pytest.approx(shrink**2 * (float(toy.var) + raised**2))
    _, scaled = result_law(partial(samplers.heun, churn=0.3, noise_scale=1.1), grid, toy)
    assert float(scaled) == pytest.approx(shrink**2 * (float(toy.var) + 4 + 1.21 * (raised**2 - 4)))
    _, outside = result_law(partial(samplers.heun, churn=0.3, churn_max=1.0), grid, toy)
    assert float(outside) == pytest.approx((float(toy.var) / (float(toy.var) + 4)) ** 2 * (float(toy.var) + 4))


@pytest.mark.parametrize("fresh", [0.0, 0.3, 1.0])
def test_renoise_one_step(fresh):
    """x' = x0 + t (sqrt(1 - f) n_hat + sqrt(f) n): for x0 = J x, the factor J + t sqrt(1 - f) (1 - J) / s."""
    toy, s, t = Gaussian16(size=1), 2.0, 1.5
    var = float(toy.var)
    shrink = var / (var + s**2)
    factor = shrink + t * math.sqrt(1 - fresh) * (1 - shrink) / s
    _, cov = result_law(partial(samplers.renoise, fresh=fresh), [s, t], toy)
    assert float(cov) == pytest.approx(factor**2 * (var + s**2) + fresh * t**2)


def test_a_rising_pair_restores_the_forward_process():
    """Exact ODE down, noise up: the law must be that of the upper level again."""
    toy = Gaussian16(size=3)
    grid = time_travel(log_snr(400, 0.05, 5.0), 100, 3)
    _, cov = result_law(samplers.heun, grid[: grid.index(grid[0], 1) + 1], toy)
    assert cov_error(cov, toy.cov + 25 * torch.eye(3, dtype=F64)) < 1e-3
    with pytest.raises(ValueError, match="noise"):
        samplers.euler(toy.denoise, torch.zeros(1, 1, 3, dtype=F64), grid)


def test_annealed_langevin_reaches_its_stationary_law():
    """The chain is an AR(1) with factor 1 - c (1 - J): variance 2 c s^2 / (1 - factor^2); then J^2 of the last denoising."""
    toy, s, c = Gaussian16(size=1), 0.8, 0.5
    shrink = float(toy.var) / (float(toy.var) + s**2)
    stationary = 2 * c * s**2 / (1 - (1 - c * (1 - shrink)) ** 2)
    _, cov = result_law(partial(samplers.annealed_langevin, step=c, inner=150), [s, 0.0], toy)
    assert float(cov) == pytest.approx(shrink**2 * stationary, rel=1e-6)


def test_predictor_alone_is_the_reverse_sde():
    x, grid = torch.randn(5, 1, 4, generator=torch.Generator().manual_seed(0), dtype=F64) * 5, log_snr(30, 0.05, 5.0)
    alone = samplers.predictor_corrector(TOY.denoise, x, grid, noise=seeded(1), corrections=0)
    assert torch.equal(alone, samplers.euler_maruyama(TOY.denoise, x, grid, noise=seeded(1)))


@pytest.mark.parametrize("first", [False, True])
def test_predictor_corrector_against_the_formulas(first):
    """Two steps of Song et al. 2021, Alg. 2, written out for one item with shared noise."""
    grid, snr = [3.0, 1.0, 0.0], 0.16
    x = torch.tensor([[[1.0, -2.0, 0.5, 4.0]]], dtype=F64)
    draws = torch.randn(4, 1, 1, 4, generator=torch.Generator().manual_seed(5), dtype=F64)

    def score(x, sigma):
        return (TOY.denoise(x, sigma) - x) / sigma**2

    def correct(x, sigma, z):
        g = score(x, sigma)
        step = 2 * (snr * z.norm() / g.norm()) ** 2
        return x + step * g + (2 * step).sqrt() * z

    def predict(x, z):
        return x + 8 * score(x, 3.0) + math.sqrt(8) * z

    if first:
        state = correct(predict(correct(x, 3.0, draws[0]), draws[1]), 1.0, draws[2])
    else:
        state = correct(predict(x, draws[0]), 1.0, draws[1])
    expected, used = state + score(state, 1.0), iter(draws)
    end = samplers.predictor_corrector(TOY.denoise, x, grid, noise=lambda like: next(used), snr=snr, corrector_first=first)
    assert torch.allclose(end, expected, atol=1e-12)


def test_langevin_norms_are_of_each_item():
    """An item far from the data must not change the step of its neighbour."""
    grid, x = [2.0, 1.0, 0.5, 0.0], torch.ones(2, 1, 4, dtype=F64)
    near = samplers.predictor_corrector(TOY.denoise, x, grid, noise=torch.ones_like)
    far = samplers.predictor_corrector(
        TOY.denoise, x * torch.tensor([1.0, 50.0], dtype=F64)[:, None, None], grid, noise=torch.ones_like
    )
    assert torch.equal(near[0], far[0]) and not torch.equal(near[1], far[1])

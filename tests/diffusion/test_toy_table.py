"""Known errors of sampler and rule pairs on Gaussian data in 16 dimensions with an exact denoiser.

Rows: error of the covariance, |C' - C| / |C|, of 4000 unconditional samples (+-.03), and its trace over the true one; then the
bias of a posterior mean, |m' - m| / |m - mu|, for 8 orthonormal measurements with noise .05. The bias depends on the scene (axes
of the prior, measured directions, data) by much more than .05, and a row was measured in one scene: so a row's bias must lie
among those of random scenes.
"""

import math
from functools import partial

import pytest
import torch
from gaussian_toy import F64, Gaussian16, cov_error, seeded

from diffzoo.diffusion import posterior as rules
from diffzoo.diffusion import samplers
from diffzoo.diffusion.schedule import from_alphas, karras, linear_alphas, log_snr, sigmas_of, time_travel

TOY, SD = Gaussian16(), 0.05
TABLE = linear_alphas()
DDPM = from_alphas(TABLE)


def vp(steps: int, sub: bool = False) -> list[float]:
    """Times even in [1e-3, 1] of the VP or sub-VP SDE, as noise levels."""
    grid = []
    for t in torch.linspace(1, 1e-3, steps, dtype=F64).tolist():
        a = math.exp(-(t**2) * 19.9 / 4 - t * 0.05)
        grid.append((1 - a**2) / a if sub else math.sqrt(1 - a**2) / a)
    return [*grid, 0.0]


def trailing(steps: int) -> list[float]:
    """Every (1000 / steps)th level of the DDPM table, from the last."""
    return [*sigmas_of(TABLE).tolist()[999 :: -(1000 // steps)], 0.0]


LADDER = partial(log_snr, low=0.01, high=50.0)
EM, PC, ALD = samplers.euler_maruyama, samplers.predictor_corrector, samplers.annealed_langevin
UNCONDITIONAL = {
    "VE PC 100": (PC, LADDER(100), 0.051, 1.05),
    "VE PC 500": (PC, LADDER(500), 0.034, 0.99),
    "VE predictor 1000": (EM, LADDER(1000), 0.016, 1.01),
    "VP EM 100": (partial(EM, sde="vp"), vp(100), 0.025, 1.00),
    "VP EM 1000": (partial(EM, sde="vp"), vp(1000), 0.031, 1.00),
    "VP PF-ODE Euler 100": (samplers.euler, vp(100), 0.039, 0.99),
    "sub-VP EM 100": (partial(EM, sde="sub_vp"), vp(100, sub=True), 0.027, 0.99),
    "DDIM eta 0 20": (samplers.euler, trailing(20), 0.178, 0.78),
    "DDIM eta 0 50": (samplers.euler, trailing(50), 0.099, 0.89),
    "DDIM eta 1 50": (samplers.ancestral, trailing(50), 0.159, 0.81),
    "Heun 10": (samplers.heun, karras(10), 0.40, 1.43),
    "Heun 18": (samplers.heun, karras(18), 0.11, 1.11),
    "Heun 40": (samplers.heun, karras(40), 0.038, 0.99),
    "2M 10": (samplers.dpmpp_2m, log_snr(10, vp(2)[1], vp(2)[0]), 0.075, 1.06),
    "2M 20": (samplers.dpmpp_2m, log_snr(20, vp(2)[1], vp(2)[0]), 0.062, 1.05),
    "2M 50": (samplers.dpmpp_2m, log_snr(50, vp(2)[1], vp(2)[0]), 0.029, 0.99),
    "ALD c .1": (partial(ALD, step=0.1), LADDER(200), 0.18, 1.16),
    "ALD c .3": (partial(ALD, step=0.3), LADDER(200), 0.049, 1.04),
    "ALD c .6": (partial(ALD, step=0.6), LADDER(200), 0.062, 1.04),
    "DDPM 1000": (samplers.ancestral, DDPM, 0.051, 1.00),
}


@pytest.mark.parametrize("row", UNCONDITIONAL)
def test_unconditional_row(row):
    """Items of 250 draws of the data, so that the Langevin step's norm is as steady as in an image; 16 k or 64 k samples.

    The rows hold the Monte-Carlo floor of 4000 samples, .02 to .03; more samples keep it out of our side of the comparison.
    """
    sampler, grid, expected, trace = UNCONDITIONAL[row]
    noise = seeded(0)
    few = 4 if len(grid) > 400 else 1
    x = grid[0] * noise(torch.zeros(64 // few, 250, 16))
    cov = torch.cov(sampler(TOY.denoise, x, grid, noise=noise).double().reshape(-1, 16).T)
    assert cov_error(cov, TOY.cov) == pytest.approx(expected, abs=0.03)
    assert float(cov.trace() / TOY.cov.trace()) == pytest.approx(trace, abs=0.05)


class Scenes:
    """`count` random posteriors side by side, states [count * copies, 1, 16]."""

    def __init__(self, count: int, copies: int, seed: int = 77, item: int = 1, dtype: torch.dtype = F64) -> None:
        self.shape, self.fold, self.dtype = (count, copies, -1), (-1, item), dtype
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=F64)

        q = torch.linalg.qr(normal(count, 16, 16))[0]
        self.q, self.rows, self.mu = q.to(dtype), torch.linalg.qr(normal(count, 16, 16))[0][:, :8], TOY.mu
        cov, a = q @ torch.diag(TOY.var) @ q.mT, self.rows
        x0 = self.mu + (normal(count, 1, 16) * TOY.var.sqrt()) @ q.mT
        y = x0 @ a.mT + SD * normal(count, 1, 8)
        gain = cov @ a.mT @ torch.linalg.inv(a @ cov @ a.mT + SD**2 * torch.eye(8, dtype=F64))
        self.mean = (self.mu + (y - self.mu[None] @ a.mT) @ gain.mT)[:, 0]
        self.rows = a.to(dtype)
        self.y = self.packed(y.expand(count, copies, 8).to(dtype))

    def packed(self, v):
        return v.reshape(*self.fold, v.shape[-1])

    def split(self, v):
        return v.reshape(*self.shape[:2], v.shape[-1])

    def denoise(self, x, sigma):
        mu, gain = self.mu.to(x.dtype), (TOY.var / (TOY.var + sigma**2)).to(x.dtype)
        return mu + self.packed((self.split(x - mu) @ self.q * gain) @ self.q.mT)

    def A(self, x):
        return self.packed(self.split(x) @ self.rows.mT)

    def AT(self, y):
        return self.packed(self.split(y) @ self.rows)

    pinv = AT

    def solve(self, b, lam):
        return (b - self.AT(self.A(b)) / (1 + lam)) / lam

    def bias(self, x):
        centre = self.split(x).double().mean(1)
        return (centre - self.mean).norm(dim=1) / (self.mean - self.mu).norm(dim=1)

    def start(self, noise, sigma):
        return sigma * noise(self.packed(torch.zeros(*self.shape[:2], 16, dtype=self.dtype)))


def renoised(fresh):
    return partial(samplers.renoise, fresh=fresh)


QUAD = [*dict.fromkeys(sigmas_of(TABLE)[torch.linspace(999**2, 0, 100, dtype=F64).sqrt().round().long()].tolist()), 0.0]
SQUARE = [*dict.fromkeys(sigmas_of(TABLE)[(999 * torch.linspace(1, 0, 100, dtype=F64) ** 2).round().long()].tolist()), 0.0]
AFFINE = {  # noise-free runs give the exact mean
    "DDNM": (rules.ddnm, renoised(0.85**2), from_alphas(TABLE, 100), 0.23),
    "DDNM travel 3": (rules.ddnm, renoised(0.85**2), time_travel(from_alphas(TABLE, 100), 1, 3), 0.10),
    "DiffPIR zeta .1 quad": (partial(rules.diffpir, noise_sd=SD), renoised(0.1), QUAD, 0.67),
    "DiffPIR zeta 1 quad": (partial(rules.diffpir, noise_sd=SD), renoised(1.0), QUAD, 0.60),
    "DiffPIR zeta 1 T u^2": (partial(rules.diffpir, noise_sd=SD), renoised(1.0), SQUARE, 0.16),
    "ALD likelihood c .3": (partial(rules.csgm, noise_sd=SD), partial(ALD, step=0.3), LADDER(400), 0.045),
    "ALD likelihood c .9": (partial(rules.csgm, noise_sd=SD), partial(ALD, step=0.9), LADDER(400), 0.024),
}


def exact_bias(row):
    scenes = Scenes(200, 1)
    rule, sampler, grid, _ = AFFINE[row]
    start = scenes.packed(scenes.mu.expand(200, 1, 16))
    return scenes.bias(sampler(rule(scenes.denoise, scenes, scenes.y), start, grid, noise=torch.zeros_like))


@pytest.mark.parametrize("row", AFFINE)
def test_bias_of_an_affine_row(row):
    low, high = exact_bias(row).quantile(torch.tensor([0.05, 0.95], dtype=F64)).tolist()
    assert low < AFFINE[row][3] < high


def test_readings_of_the_table():
    """Time travel, a grid dense at low noise, and a longer Langevin step help in nearly every scene."""
    assert (exact_bias("DDNM travel 3") < exact_bias("DDNM")).double().mean() > 0.95
    assert (exact_bias("DiffPIR zeta 1 T u^2") < exact_bias("DiffPIR zeta 1 quad")).double().mean() > 0.95
    assert (exact_bias("ALD likelihood c .9") < exact_bias("ALD likelihood c .3")).double().mean() > 0.9


def test_ccdf_from_too_low_a_start():
    scenes = Scenes(200, 1)
    start, grid = scenes.AT(scenes.y), log_snr(150, 0.01, 0.13)
    end = EM(scenes.denoise, start, grid, noise=torch.zeros_like, project=rules.pocs(scenes, scenes.y))
    low, high = scenes.bias(end).quantile(torch.tensor([0.05, 0.95], dtype=F64)).tolist()
    assert low < 0.61 < high


def ranged(bias, expected, slack=0.05):
    return float(bias.min()) - slack < expected < float(bias.max()) + slack


def sampled(rule, sampler, grid, item=1, project=None):
    scenes, noise = Scenes(16, 500, item=item, dtype=torch.float32), seeded(1)
    keep = project(scenes, scenes.y) if project else None
    return scenes.bias(
        sampler(rule(scenes.denoise, scenes, scenes.y), scenes.start(noise, grid[0]), grid, noise=noise, project=keep)
    )


@pytest.mark.parametrize(("zeta", "expected"), [(0.1, 0.086), (0.3, 0.089), (1.0, 0.092)])
def test_bias_of_dps(zeta, expected):
    assert ranged(sampled(partial(rules.dps, sigmas=DDPM, scale=zeta), samplers.ancestral, DDPM), expected)


def test_bias_of_mcg():
    """MCG is the DPS step followed by the projection on data noised to the level."""
    rule, project = partial(rules.dps, sigmas=DDPM, scale=0.3), partial(rules.pocs, noise=seeded(2))
    assert ranged(sampled(rule, samplers.ancestral, DDPM, project=project), 0.092)


@pytest.mark.parametrize(("match", "step", "expected"), [(1.0, 0.3, 0.031), (5.0, 0.06, 0.085), (5.0, 0.3, 0.030)])
def test_bias_of_norm_matched_langevin(match, step, expected):
    rule = partial(rules.csgm, noise_sd=SD, match=match)
    assert ranged(sampled(rule, partial(ALD, step=step), LADDER(400)), expected)


def test_bias_of_predictor_corrector_with_hard_data_falls_with_the_steps():
    def prior(denoise, op, y):
        return denoise

    found = [sampled(prior, PC, LADDER(n), item=500, project=rules.pocs) for n in (100, 500, 1000)]
    assert all(ranged(b, expected) for b, expected in zip(found, (0.35, 0.13, 0.03), strict=True))
    assert (found[1] < found[0]).double().mean() > 0.8 and float(found[0].mean()) > 1.4 * float(found[2].mean())

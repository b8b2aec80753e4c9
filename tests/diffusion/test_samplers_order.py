"""Deterministic samplers against the exact solution of the probability-flow ODE."""

import math
from functools import partial

import pytest
import torch
from gaussian_toy import F64, Gaussian16

from diffzoo.diffusion import samplers
from diffzoo.diffusion.schedule import from_alphas, karras, linear_alphas, log_snr

TOY = Gaussian16(size=6)
START = torch.linspace(-1, 1, 18, dtype=F64).reshape(3, 1, 6) * 10


@pytest.mark.parametrize(
    ("sampler", "order", "slack"),
    [
        (samplers.euler, 1, 0.05),
        (samplers.heun, 2, 0.1),
        (samplers.dpmpp_2m, 2, 0.1),
        (partial(samplers.unipc, variant="bh1"), 3, 0.25),
        (partial(samplers.unipc, variant="bh2"), 3, 0.25),
    ],
)
def test_order_of_convergence(sampler, order, slack):
    exact, errors = TOY.ode(START, 10.0, 0.05), []
    for steps in (160, 320):
        end = sampler(TOY.denoise, START, log_snr(steps + 1, 0.05, 10.0)[:-1])
        errors.append(float((end - exact).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=slack)


def test_adaptive_reaches_its_tolerance_and_ends_with_a_denoising():
    exact = TOY.ode(START, 10.0, 0.05)
    for tol in (1e-4, 1e-6, 1e-8):
        error = (samplers.adaptive(TOY.denoise, START, [10.0, 0.05], rtol=tol, atol=tol) - exact).abs().max()
        assert error < 10 * tol
    end = samplers.adaptive(TOY.denoise, START, [10.0, 1.0, 0.05, 0.0], rtol=1e-8, atol=1e-8)
    assert torch.allclose(end, TOY.denoise(exact, 0.05), atol=1e-6)


def test_adaptive_has_order_five():
    """At order 5 a tenth of the tolerance costs 10^(1/5) = 1.58 as many calls."""
    calls = []
    for tol in (1e-7, 1e-9, 1e-11):
        count = 0

        def counted(x, sigma):
            nonlocal count
            count += 1
            return TOY.denoise(x, sigma)

        samplers.adaptive(counted, START[:1], [10.0, 0.05], rtol=tol, atol=tol)
        calls.append(count)
    assert calls[2] / calls[1] == pytest.approx(100**0.2, rel=0.15) and calls[0] < calls[1] < 600


def test_adaptive_rejects_a_broken_denoiser():
    with pytest.raises(ValueError, match="not finite"):
        samplers.adaptive(lambda x, s: x * math.nan, START, [10.0, 0.1, 0.0])
    with pytest.raises(ValueError, match="float64"):
        samplers.adaptive(TOY.denoise, START.float(), [10.0, 0.1, 0.0], rtol=1e-12, atol=1e-12)


def test_published_errors_of_2m_and_ddim():
    """N(.7, .25) from x = 1.3, VP with beta .1 to 20, grid even in the log-SNR: x of the scaled state at t = 1e-3."""

    def vp(t):
        log_alpha = -(t**2) * 19.9 / 4 - t * 0.05
        return math.exp(log_alpha), math.sqrt(-math.expm1(2 * log_alpha))

    (a1, s1), (a0, s0) = vp(1.0), vp(1e-3)
    top, low = s1 / a1, s0 / a0
    start = torch.full((1, 1, 1), 1.3 / a1, dtype=F64)
    exact = 0.7 + math.sqrt((0.25 + low**2) / (0.25 + top**2)) * (1.3 / a1 - 0.7)

    def denoise(x, sigma):
        return 0.7 + 0.25 / (0.25 + sigma**2) * (x - 0.7)

    table = {
        samplers.dpmpp_2m: {16: 0.0123, 32: 0.0035, 64: 0.00090, 128: 0.00023},
        samplers.euler: {16: 0.090, 32: 0.047, 64: 0.024, 128: 0.012},
    }
    for sampler, row in table.items():
        for steps, expected in row.items():
            end = sampler(denoise, start, log_snr(steps + 1, low, top)[:-1])
            assert a0 * abs(float(end) - exact) == pytest.approx(expected, rel=0.05)


def test_euler_is_ddim():
    """Song et al. 2021, eq. 12 in its own coordinates, eta = 0."""
    bar = linear_alphas()
    grid = from_alphas(bar, 50)
    index = torch.linspace(999, 0, 50, dtype=F64).round().long()
    x = START / START.std()
    state = x * bar[index[0]].sqrt()
    for k, t in enumerate(index):
        here, there = bar[t], bar[index[k + 1]] if k + 1 < len(index) else torch.ones((), dtype=F64)
        x0 = TOY.denoise(state / here.sqrt(), float(((1 - here) / here).sqrt()))
        eps = (state - here.sqrt() * x0) / (1 - here).sqrt()
        state = there.sqrt() * x0 + (1 - there).sqrt() * eps
    assert torch.allclose(samplers.euler(TOY.denoise, x, grid), state, atol=1e-10, rtol=0)


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_ancestral_is_ddpm_and_ddim_with_eta(eta):
    """Song et al. 2021, eq. 12 and 16; at eta = 1 also Ho et al. 2020, eq. 7, with the same noise."""
    bar = linear_alphas(100)
    alphas = bar / torch.cat([torch.ones(1, dtype=F64), bar[:-1]])
    draws = torch.randn(100, *START.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
    x = START * 3
    ddim, ddpm, used = x * bar[-1].sqrt(), x * bar[-1].sqrt(), iter(draws)
    for k, t in enumerate(range(99, -1, -1)):
        here, there = bar[t], bar[t - 1] if t else torch.ones((), dtype=F64)
        level = float(((1 - here) / here).sqrt())
        x0 = TOY.denoise(ddim / here.sqrt(), level)
        eps = (ddim - here.sqrt() * x0) / (1 - here).sqrt()
        up = eta * ((1 - there) / (1 - here)).sqrt() * (1 - here / there).sqrt()
        ddim = there.sqrt() * x0 + (1 - there - up**2).clamp(min=0).sqrt() * eps + up * draws[k]
        x0, beta = TOY.denoise(ddpm / here.sqrt(), level), 1 - alphas[t]
        mean = (there.sqrt() * beta * x0 + alphas[t].sqrt() * (1 - there) * ddpm) / (1 - here)
        ddpm = mean + ((1 - there) / (1 - here) * beta).sqrt() * draws[k]
    end = samplers.ancestral(TOY.denoise, x, from_alphas(bar), noise=lambda like: next(used), eta=eta)
    assert torch.allclose(end, ddim, atol=1e-10, rtol=0)
    if eta == 1:
        assert torch.allclose(end, ddpm, atol=1e-10, rtol=0)


@pytest.mark.parametrize("lowest", [0.0, 0.02])
def test_inversion_then_sampling_returns_the_input(lowest):
    grid = [*karras(20, 0.02, 20.0)[:-1], *([] if lowest else [0.0])]
    image = TOY.mu + torch.randn(4, 1, 6, generator=torch.Generator().manual_seed(0), dtype=F64) @ TOY.spectral(TOY.var.sqrt())

    def gap(corrections):
        state = samplers.invert(TOY.denoise, image, grid[::-1], corrections=corrections)
        return float((samplers.euler(TOY.denoise, state, grid) - image).norm() / image.norm())

    assert gap(0) > 0.1 and gap(5) < 2e-5 and gap(20) < 1e-10


def test_inversion_has_order_one_and_wants_a_rising_grid():
    image, errors = START / 10, []
    for steps in (200, 400):
        up = samplers.invert(TOY.denoise, image, log_snr(steps + 1, 0.05, 10.0)[-2::-1])
        errors.append(float((up - TOY.ode(image, 0.05, 10.0)).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError, match="rising grid"):
        samplers.invert(TOY.denoise, image, [2.0, 1.0, 0.0])


def test_plug_and_play_is_repeated_denoising():
    expected = START
    for sigma in (2.0, 1.0, 0.5):
        expected = TOY.denoise(expected, sigma)
    assert torch.equal(samplers.plug_and_play(TOY.denoise, START, [2.0, 1.0, 0.5, 0.0]), expected)


def test_momentum_carries_a_share_of_the_last_change_on_but_not_past_the_end():
    first = TOY.denoise(START, 2.0)
    second = TOY.denoise(first, 1.0)
    expected = TOY.denoise(second + 0.5 * (second - first), 0.5)
    found = samplers.plug_and_play(TOY.denoise, START, [2.0, 1.0, 0.5, 0.0], momentum=0.5)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_momentum_reaches_the_fixed_point_of_a_contraction_in_fewer_steps():
    sigmas = [1.0 / (k + 1) for k in range(20)] + [0.0]
    start = torch.ones(1, 1, 4, dtype=torch.float64)
    plain, carried = (samplers.plug_and_play(lambda x, s: 0.9 * x, start, sigmas, momentum=m) for m in (0.0, 0.5))
    assert carried.abs().max() < 0.5 * plain.abs().max()


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_momentum_out_of_range_is_refused(momentum):
    with pytest.raises(ValueError, match="momentum"):
        samplers.plug_and_play(TOY.denoise, START, [1.0, 0.0], momentum=momentum)


def test_multistep_history_restarts_after_a_rise():
    """After time travel the first step must be of first order: here it equals a fresh run from the same state."""
    for sampler in (samplers.dpmpp_2m, samplers.unipc):
        after_rise = []

        def remember(i, sigma, x, x0, seen=after_rise):
            if i == 2:
                seen.append(x)

        end = sampler(TOY.denoise, START, [8.0, 4.0, 2.0, 6.0, 3.0, 0.0], noise=torch.ones_like, callback=remember)
        assert torch.equal(end, sampler(TOY.denoise, after_rise[0], [6.0, 3.0, 0.0]))

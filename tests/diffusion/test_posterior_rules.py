"""Posterior rules against dense algebra and exact Gaussian posteriors: what each reaches, and what it cannot."""

from functools import partial

import pytest
import torch
from gaussian_toy import F64, Gaussian16, Rows, cov_error, law, posterior, rotation

from diffzoo.diffusion import posterior as rules
from diffzoo.diffusion import samplers
from diffzoo.diffusion.schedule import from_alphas, linear_alphas, log_snr, time_travel

TOY = Gaussian16(size=6)
DENSE = torch.randn(3, 6, generator=torch.Generator().manual_seed(4), dtype=F64)
ORTHO = rotation(6, torch.Generator().manual_seed(9))[:3]
X = torch.linspace(-2, 2, 24, dtype=F64).reshape(4, 1, 6).sin() * 3
Y = torch.linspace(-1, 1, 12, dtype=F64).reshape(4, 1, 3)
ALIGNED = TOY.q.T[[0, 2, 4]]  # measures eigenvectors of the prior: measured and unmeasured parts are independent


def everything(y):
    op = Rows(ORTHO)
    return {
        "ddnm": rules.ddnm(TOY.denoise, op, y),
        "ddnm_noisy": rules.ddnm(TOY.denoise, op, y, noise_sd=2.0),
        "dds": rules.dds(TOY.denoise, op, y, lam=0.1, steps=2),
        "diffpir": rules.diffpir(TOY.denoise, op, y, noise_sd=0.1),
        "dps": rules.dps(TOY.denoise, op, y, [1.0, 0.5, 0.0], 0.3),
        "dps_likelihood": rules.dps_likelihood(TOY.denoise, op, y, noise_sd=0.5, data_sd=1.0),
        "csgm": rules.csgm(TOY.denoise, op, y, noise_sd=0.1),
        "csgm_match": rules.csgm(TOY.denoise, op, y, noise_sd=0.1, match=1.0),
        "pocs": rules.pocs(op, y, lam=0.7),
    }


@pytest.mark.parametrize("name", everything(Y))
def test_weights_are_of_each_item(name):
    """A neighbour with huge data changes nothing; one item alone gives the same; no gradient leaks out."""
    scale = torch.tensor([1.0, 1e3, 1.0, 1.0], dtype=F64)[:, None, None]
    with torch.no_grad():
        out, other = everything(Y)[name](X, 1.0), everything(Y * scale)[name](X * scale, 1.0)
        alone = everything(Y[:1])[name](X[:1], 1.0)
    assert torch.allclose(out[[0, 2, 3]], other[[0, 2, 3]]) and torch.allclose(out[:1], alone)
    assert not out.requires_grad and not torch.allclose(out, TOY.denoise(X, 1.0))


def test_ddnm_replaces_the_range_and_keeps_the_null_space():
    op, x0 = Rows(DENSE), TOY.denoise(X, 0.7)
    out = rules.ddnm(TOY.denoise, op, Y)(X, 0.7)
    null = torch.eye(6, dtype=F64) - torch.linalg.pinv(DENSE) @ DENSE
    assert torch.allclose(op.A(out), Y) and torch.allclose(out @ null, x0 @ null)
    noisy = rules.ddnm(TOY.denoise, op, Y, noise_sd=2.8)
    assert torch.allclose(noisy(X, 0.7) - x0, 0.25 * (out - x0))
    assert torch.allclose(noisy(X, 3.0), rules.ddnm(TOY.denoise, op, Y)(X, 3.0))


def test_diffpir_is_the_proximal_point_and_tends_to_ddnm():
    op, x0, sigma, sd, lam = Rows(DENSE), TOY.denoise(X, 0.7), 0.7, 0.2, 3.0
    mean, _ = zip(
        *(posterior(x0[i, 0], sigma**2 / lam * torch.eye(6, dtype=F64), DENSE, Y[i, 0], sd) for i in range(4)), strict=True
    )
    assert torch.allclose(rules.diffpir(TOY.denoise, op, Y, sd, lam)(X, sigma)[:, 0], torch.stack(mean))
    sharp = rules.diffpir(TOY.denoise, op, Y, 1e-5)(X, sigma)
    assert torch.allclose(sharp, rules.ddnm(TOY.denoise, op, Y)(X, sigma), atol=1e-5)


def test_dds_is_conjugate_gradients_from_the_estimate():
    op, x0, lam = Rows(DENSE), TOY.denoise(X, 0.7), 0.05

    def run(steps, lam=lam):
        return rules.dds(TOY.denoise, op, Y, lam, steps)(X, 0.7)

    def cost(x):
        return ((op.A(x) - Y) ** 2).sum((1, 2)) + lam * ((x - x0) ** 2).sum((1, 2))

    exact = op.solve(op.AT(Y) + lam * x0, lam)
    assert torch.allclose(run(3), exact, atol=1e-8) and torch.allclose(run(30), exact, atol=1e-8)
    costs = torch.stack([cost(x0), cost(run(1)), cost(run(2)), cost(exact)])
    assert (costs[:-1] > costs[1:] + 1e-6).all()
    b = op.AT(Y - op.A(x0))
    length = (b * b).sum(2) / ((op.A(b) ** 2).sum(2) + lam * (b * b).sum(2))
    assert torch.allclose(run(1), x0 + length[..., None] * b)
    assert torch.allclose(run(3, lam=0.0), rules.ddnm(TOY.denoise, op, Y)(X, 0.7))
    solved = rules.dds(lambda x, s: op.pinv(Y), op, Y, 0.0, 5)(X, 0.7)
    assert torch.allclose(solved, op.pinv(Y))


def test_dps_is_the_published_step():
    """Chung et al. 2023, Alg. 1 in VP coordinates with its own autograd, same noise."""
    bar, zeta, op = linear_alphas(60), 0.3, Rows(DENSE)
    grid = from_alphas(bar)
    alphas = bar / torch.cat([torch.ones(1, dtype=F64), bar[:-1]])
    draws, start = torch.randn(60, *X.shape, generator=torch.Generator().manual_seed(3), dtype=F64), X * 2
    state, used = start * bar[-1].sqrt(), iter(draws)
    for k, t in enumerate(range(59, -1, -1)):
        here, there = bar[t], bar[t - 1] if t else torch.ones((), dtype=F64)
        leaf = state.clone().requires_grad_()
        x0 = TOY.denoise(leaf / here.sqrt(), float(((1 - here) / here).sqrt()))
        slope = torch.autograd.grad((Y - op.A(x0)).flatten(1).norm(dim=1).sum(), leaf)[0]
        mean = (there.sqrt() * (1 - alphas[t]) * x0.detach() + alphas[t].sqrt() * (1 - there) * state) / (1 - here)
        state = mean + ((1 - there) / (1 - here) * (1 - alphas[t])).sqrt() * draws[k] - zeta * slope
    rule = rules.dps(TOY.denoise, op, Y, grid, zeta)
    assert torch.allclose(samplers.ancestral(rule, start, grid, noise=lambda like: next(used)), state, atol=1e-8)
    with pytest.raises(ValueError, match="another grid"):
        rule(X, 0.1234)


def test_dps_likelihood_is_the_gradient_of_the_log_density():
    op, sigma, sd = Rows(DENSE), 0.7, 0.3
    gain = TOY.spectral(TOY.var / (TOY.var + sigma**2))
    x0 = TOY.denoise(X, sigma)
    expected = x0 + 0.5 * sigma**2 / sd**2 * op.AT(Y - op.A(x0)) @ gain
    assert torch.allclose(rules.dps_likelihood(TOY.denoise, op, Y, sd, scale=0.5)(X, sigma), expected)


def isotropic(sd=0.8):
    toy = Gaussian16(size=6)
    toy.var = torch.full((6,), sd**2, dtype=F64)
    toy.cov = toy.spectral(toy.var)
    return toy


def test_dps_likelihood_samples_the_exact_posterior_of_isotropic_data():
    toy, op, y, sd = isotropic(), Rows(ORTHO), Y[:1, :, :], 0.2
    mean, cov = posterior(toy.mu, toy.cov, ORTHO, y[0, 0], sd)
    rule = rules.dps_likelihood(toy.denoise, op, y, sd, data_sd=0.8)
    gain = cov @ torch.linalg.inv(cov + 0.49 * torch.eye(6, dtype=F64))
    assert torch.allclose(rule(X, 0.7), mean + (X - mean) @ gain.T, atol=1e-10)
    errors = []
    for steps in (40, 80):
        grid = log_snr(steps, 0.005, 20.0)
        start = torch.linalg.cholesky(cov + grid[0] ** 2 * torch.eye(6, dtype=F64))
        centre, spread = law(lambda x, noise, grid=grid: samplers.heun(rule, x, grid), mean, start)
        assert torch.allclose(centre, mean)
        errors.append(cov_error(spread, cov))
    assert errors[1] < 0.01 and errors[1] < errors[0] / 3


def drawn(rule, sampler, grid, toy=TOY):
    start = toy.spectral((toy.var + grid[0] ** 2).sqrt())
    return law(lambda x, noise: sampler(rule, x, grid, noise=noise), toy.mu, start)


@pytest.mark.parametrize("fresh", [None, 0.7225])
def test_ddnm_is_exact_where_the_measured_part_is_independent(fresh):
    """The null space then gets the prior's own law; the measured part is y without spread."""
    y, op = Y[:1], Rows(ALIGNED)
    sampler = samplers.ancestral if fresh is None else partial(samplers.renoise, fresh=fresh)
    mean, cov = posterior(TOY.mu, TOY.cov, ALIGNED, y[0, 0], 1e-9)
    centre, spread = drawn(rules.ddnm(TOY.denoise, op, y), sampler, log_snr(80, 0.01, 10.0))
    assert torch.allclose(centre, mean, atol=1e-6) and (ALIGNED @ spread @ ALIGNED.T).abs().max() < 1e-12
    if fresh is None:
        assert cov_error(spread, cov) < 0.1
    else:  # renoise forgets: its null space is no sample of the prior
        assert cov_error(spread, cov) > 0.1


def test_ddnm_needs_time_travel_where_parts_are_correlated():
    y, op = Y[1:2], Rows(ORTHO)
    mean, _ = posterior(TOY.mu, TOY.cov, ORTHO, y[0, 0], 1e-9)
    rule, sampler = rules.ddnm(TOY.denoise, op, y), partial(samplers.renoise, fresh=0.7225)
    grid = from_alphas(linear_alphas(), 100)
    silent = [sampler(rule, TOY.mu[None, None], g, noise=torch.zeros_like)[0, 0] for g in (grid, time_travel(grid, 1, 3))]
    plain, travelled = (float((s - mean).norm() / (mean - TOY.mu).norm()) for s in silent)
    assert all(torch.allclose(ORTHO @ s, y[0, 0]) for s in silent)
    assert 0.05 < plain < 0.5 and travelled < 0.7 * plain


def test_ddnm_ignores_the_noise_of_the_data_and_diffpir_nearly_has_it():
    """The spread of the measured part: none in DDNM, too small in DiffPIR, in the exact posterior sd^2 v / (sd^2 + v)."""
    y, op, sd = Y[:1], Rows(ALIGNED), 0.3
    _, cov = posterior(TOY.mu, TOY.cov, ALIGNED, y[0, 0], sd)
    true, grid = torch.trace(ALIGNED @ cov @ ALIGNED.T), log_snr(100, 0.01, 10.0)
    spreads = []
    for rule in (rules.ddnm(TOY.denoise, op, y), rules.diffpir(TOY.denoise, op, y, sd)):
        _, drawn_cov = drawn(rule, samplers.ancestral, grid)
        spreads.append(float(torch.trace(ALIGNED @ drawn_cov @ ALIGNED.T) / true))
    assert spreads[0] < 1e-10 and 0.7 < spreads[1] < 0.95


def test_csgm_in_annealed_langevin_samples_the_exact_posterior():
    """Correlated prior, noisy data: bias and spread fall towards the exact posterior with the inner steps."""
    toy, row, sd = Gaussian16(size=3), rotation(3, torch.Generator().manual_seed(9))[:1], 0.3
    y, errors = torch.ones(1, 1, 1, dtype=F64), []
    mean, cov = posterior(toy.mu, toy.cov, row, y[0, 0], sd)
    rule, grid = rules.csgm(toy.denoise, Rows(row), y, sd), log_snr(15, 0.1, 3.0)
    for inner in (4, 16, 64):
        centre, spread = drawn(rule, partial(samplers.annealed_langevin, step=0.5, inner=inner), grid, toy)
        errors.append((float((centre - mean).norm() / (mean - toy.mu).norm()), cov_error(spread, cov)))
    assert errors[0] > errors[1] > errors[2] and errors[0][1] > errors[1][1] > errors[2][1]
    assert errors[2][0] < 0.06 and errors[2][1] < 0.03


def test_csgm_diverges_beyond_its_step_limit():
    """step (1 + |A|^2) < 2: the released 1.148 is too long for an exact score and an operator of norm 1."""
    rule, grid = rules.csgm(TOY.denoise, Rows(ORTHO), Y, 0.01), log_snr(60, 0.05, 5.0)
    ends = [samplers.annealed_langevin(rule, X, grid, noise=torch.zeros_like, step=c, inner=5).abs().max() for c in (0.9, 1.148)]
    assert ends[0] < 5 and ends[1] > 100 * ends[0]


def test_csgm_formulas():
    op, sigma, sd = Rows(DENSE), 0.7, 0.3
    x0, pull = TOY.denoise(X, sigma), op.AT(Y - op.A(X))
    assert torch.allclose(rules.csgm(TOY.denoise, op, Y, sd)(X, sigma), x0 + 0.49 / (0.49 + 0.09) * pull)
    matched = rules.csgm(TOY.denoise, op, Y, sd, match=2.0)(X, sigma) - x0
    assert torch.allclose(matched.norm(dim=2), 2 * (x0 - X).norm(dim=2))
    assert torch.allclose((matched * pull).sum(2), matched.norm(dim=2) * pull.norm(dim=2))


def test_pocs_projects_and_relaxes():
    op = Rows(DENSE)
    once = rules.pocs(op, Y)(X, 1.0)
    assert torch.allclose(op.A(once), Y) and torch.allclose(rules.pocs(op, Y)(once, 1.0), once)
    assert torch.allclose(Y - op.A(rules.pocs(op, Y, lam=0.25)(X, 1.0)), 0.75 * (Y - op.A(X)))
    noisy = rules.pocs(op, Y, noise=torch.ones_like)
    assert torch.allclose(op.A(noisy(X, 0.5)), Y + 0.5 * op.A(torch.ones_like(X)))
    assert torch.allclose(op.A(noisy(X, 0.0)), Y)


def test_pocs_gives_the_exact_law_where_the_measured_part_is_independent():
    y, op, grid = Y[:1], Rows(ALIGNED), log_snr(100, 0.01, 10.0)
    mean, cov = posterior(TOY.mu, TOY.cov, ALIGNED, y[0, 0], 1e-9)
    start = TOY.spectral((TOY.var + grid[0] ** 2).sqrt())
    project = rules.pocs(op, y)
    centre, spread = law(
        lambda x, noise: samplers.euler_maruyama(TOY.denoise, x, grid, noise=noise, project=project), TOY.mu, start
    )
    assert torch.allclose(centre, mean, atol=1e-6) and cov_error(spread, cov) < 0.1


def test_complex_measurements_count_both_parts():
    class Fourier:
        def A(self, x):
            return torch.fft.fft(torch.complex(x[:, 0], x[:, 1]), norm="ortho")[:, None, ::2]

        def AT(self, y):
            full = torch.zeros(len(y), 8, dtype=y.dtype)
            full[:, ::2] = y[:, 0]
            image = torch.fft.ifft(full, norm="ortho")
            return torch.stack([image.real, image.imag], 1)

        pinv = AT

    op, x = Fourier(), torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(0), dtype=F64)
    y = op.A(torch.ones(2, 2, 8, dtype=F64))
    shrink = 1 / (1 + 0.49)

    def denoise(x, s):
        return shrink * x

    exact = rules.ddnm(denoise, op, y)(x, 0.7)
    assert torch.allclose(rules.dds(denoise, op, y, 0.0, 3)(x, 0.7), exact)
    slope = rules.dps_likelihood(denoise, op, y, 0.5)(x, 0.7) - shrink * x
    assert torch.allclose(slope, 0.49 / 0.25 * shrink * op.AT(y - op.A(shrink * x)))


@pytest.mark.parametrize(
    "make",
    [
        lambda op: rules.diffpir(TOY.denoise, op, Y, 0.0),
        lambda op: rules.dds(TOY.denoise, op, Y, lam=-1.0),
        lambda op: rules.dps_likelihood(TOY.denoise, op, Y, 0.0),
        lambda op: rules.pocs(op, Y, lam=1.5),
    ],
)
def test_bad_weights(make):
    with pytest.raises(ValueError, match="needs"):
        make(Rows(DENSE))


def test_proximal_is_the_damped_least_squares_point_and_has_both_limits():
    op = Rows(DENSE)
    out = rules.proximal(op, Y, lam=0.3)(X, 2.0)
    slope = op.AT(op.A(out) - Y) + 0.3 * (out - X)
    assert slope.abs().max() < 1e-10
    assert torch.allclose(rules.proximal(op, Y, lam=1e9)(X, 2.0), X)
    assert torch.allclose(op.A(rules.proximal(op, Y, lam=1e-9)(X, 2.0)), Y)
    with pytest.raises(ValueError, match="lam > 0"):
        rules.proximal(op, Y, lam=0.0)


def test_proximal_in_the_published_coordinate_meets_clean_data_in_it():
    op, sigma = Rows(DENSE), 3.0
    out = rules.proximal(op, Y, lam=1e-9, vp=True)(X, sigma)
    assert torch.allclose(op.A(out / (1 + sigma**2) ** 0.5), Y)
    assert torch.allclose(rules.proximal(op, Y, vp=True)(X, 0.0), rules.proximal(op, Y)(X, 0.0))


def test_a_rule_by_name_takes_its_own_options_alone():
    op, options = Rows(ORTHO), {"noise_sd": 0.1, "dds": {"lam": 0.1, "steps": 2}}
    expected = {"ddnm": rules.ddnm(TOY.denoise, op, Y, noise_sd=0.1), "dds": rules.dds(TOY.denoise, op, Y, lam=0.1, steps=2)}
    expected["diffpir"] = rules.diffpir(TOY.denoise, op, Y, noise_sd=0.1)
    for name, denoise in expected.items():
        assert torch.equal(rules.named(name, **options)(TOY.denoise, op, Y)(X, 0.5), denoise(X, 0.5)), name
    assert rules.named("pocs") is rules.named("none") is rules.named_constraint("ddnm") is None
    projected = rules.named_constraint("pocs", lam=0.7, noise_sd=3)(op, Y)(X, 0.5)
    assert torch.equal(projected, rules.pocs(op, Y, lam=0.7)(X, 0.5))
    with pytest.raises(ValueError, match="unknown rule 'ddmn'; did you mean ddnm"):
        rules.named("ddmn")

import pytest
import torch
from gaussian_toy import F64, Gaussian16, Rows, posterior, rotation

from diffzoo.diffusion.guidance import cfg, clamp, classifier, dynamic_threshold

X = torch.linspace(-3, 3, 12, dtype=F64).reshape(2, 1, 6)


def test_cfg_extrapolates_within_its_interval():
    calls = []

    def uncond(x, sigma):
        calls.append(sigma)
        return 0.5 * x

    guided = cfg(lambda x, s: 2 * x, uncond, 3.0, interval=(0.5, 2.0))
    assert torch.allclose(guided(X, 1.0), 0.5 * X + 3 * 1.5 * X)
    assert torch.equal(guided(X, 0.5), guided(X, 2.0)) and len(calls) == 3
    assert torch.equal(guided(X, 0.4), 2 * X) and torch.equal(guided(X, 2.1), 2 * X) and len(calls) == 3
    assert torch.equal(cfg(lambda x, s: 2 * x, uncond, 1.0)(X, 1.0), 2 * X) and len(calls) == 3


def test_cfg_of_gaussians_is_the_score_of_the_tilted_density():
    """p_u^(1 - w) p_c^w of equal covariances is the Gaussian with mean u + w (c - u)."""
    toy = Gaussian16(size=6)
    shift = torch.arange(6, dtype=F64)

    def moved(offset):
        return lambda x, s: toy.denoise(x - offset, s) + offset

    assert torch.allclose(cfg(moved(shift), moved(0 * shift), 2.5)(X, 0.7), moved(2.5 * shift)(X, 0.7))


def test_exact_classifier_guidance_is_the_posterior_denoiser():
    """With p(y | x_sigma) exact, guidance turns the prior's denoiser into that of the posterior."""
    toy, sigma, sd = Gaussian16(size=6), 0.6, 0.3
    op = Rows(rotation(6, torch.Generator().manual_seed(2))[:2])
    y = torch.tensor([0.4, -0.2], dtype=F64)

    def log_prob(x, s):
        gain = toy.spectral(toy.var / (toy.var + s**2))
        left = toy.spectral(toy.var * s**2 / (toy.var + s**2))
        cov = op.matrix @ left @ op.matrix.T + sd**2 * torch.eye(2, dtype=F64)
        r = (y - (toy.mu + (x - toy.mu) @ gain) @ op.matrix.T)[:, 0]
        return -0.5 * (r @ torch.linalg.inv(cov) * r).sum(1)

    mean, cov = posterior(toy.mu, toy.cov, op.matrix, y, sd)
    gain = cov @ torch.linalg.inv(cov + sigma**2 * torch.eye(6, dtype=F64))
    with torch.no_grad():
        guided = classifier(toy.denoise, log_prob)(X, sigma)
    assert torch.allclose(guided, mean + (X - mean) @ gain.T) and not guided.requires_grad
    double = classifier(toy.denoise, log_prob, scale=2.0)(X, sigma)
    assert torch.allclose(double - guided, guided - toy.denoise(X, sigma))
    assert torch.equal(classifier(toy.denoise, log_prob, interval=(1.0, 2.0))(X, sigma), toy.denoise(X, sigma))


def test_clamp_and_dynamic_threshold():
    assert torch.equal(clamp(lambda x, s: x, -1, 2)(X, 1.0), X.clamp(-1, 2))
    bounded = dynamic_threshold(lambda x, s: x, quantile=0.45, high=0.5)(X, 1.0)
    for item, out in zip(X, bounded, strict=True):
        bound = item.abs().flatten().sort().values[2]
        assert torch.allclose(out, item.clamp(-bound, bound) / bound * 0.5)
    small = X / 100
    assert torch.equal(dynamic_threshold(lambda x, s: x)(small, 1.0), small)
    with pytest.raises(ValueError, match="low < high"):
        clamp(lambda x, s: x, 1, 1)
    with pytest.raises(ValueError, match="quantile"):
        dynamic_threshold(lambda x, s: x, quantile=0.0)

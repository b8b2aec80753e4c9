"""The exact network of each family, written in the family's own coordinates, must give the exact denoiser."""

import math

import pytest
import torch
from gaussian_toy import F64
from torch import nn

from diffzoo.diffusion import precond
from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.schedule import cosine_alphas, linear_alphas, scaled_linear_alphas, sigmas_of

MU, VAR = 0.4, 0.3  # x0 ~ N(MU, VAR) in every pixel
BAR = linear_alphas()


class Exact(nn.Module):
    """u = a x0 + s n with (a, s) = scales(label) -> output(u, a, s, E[x0 | u])."""

    def __init__(self, scales, output):
        super().__init__()
        self.scales, self.output = scales, output

    def forward(self, u, label):
        a, s = (c.reshape(-1, 1, 1) for c in self.scales(label))
        return self.output(u, a, s, MU + a * VAR / (a**2 * VAR + s**2) * (u - a * MU))


def table(label):
    bar = BAR[label.round().long()]
    assert torch.allclose(label, label.round(), atol=1e-6)
    return bar.sqrt(), (1 - bar).sqrt()


def vp_alpha(t):
    return torch.exp(-(t**2) * 19.9 / 4 - t * 0.05)


def vp(label):
    a = vp_alpha(label / 999)
    return a, (1 - a**2).sqrt()


def sub_vp(label):
    a = vp_alpha(label / 999)
    return a, 1 - a**2


def eps(u, a, s, x0):
    return (u - a * x0) / s


FAMILIES = {
    "eps_vp": (precond.eps_vp(BAR), table, eps),
    "v_vp": (precond.v_vp(BAR), table, lambda u, a, s, x0: a * eps(u, a, s, x0) - s * x0),
    "x0_vp": (precond.x0_vp(BAR), table, lambda u, a, s, x0: x0),
    "vp_continuous": (precond.vp_continuous(), vp, eps),
    "sub_vp": (precond.sub_vp(), sub_vp, eps),
    "ve": (precond.ve(), lambda c: (c * 0 + 1, c.exp()), lambda u, a, s, x0: (x0 - u) / s),
    "ve_score": (precond.ve("score"), lambda c: (c * 0 + 1, c.exp()), lambda u, a, s, x0: (x0 - u) / s**2),
    "x0": (precond.x0(), lambda c: (c * 0 + 1, c.exp()), lambda u, a, s, x0: x0),
    "flow": (precond.flow(), lambda t: (1 - t, t), lambda u, a, s, x0: eps(u, a, s, x0) - x0),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_exact_network_gives_the_exact_denoiser(name):
    pre, scales, output = FAMILIES[name]
    sigma = sigmas_of(BAR)[[3, 100, 500, 900]]
    x = torch.randn(4, 1, 50, generator=torch.Generator().manual_seed(0), dtype=F64) * sigma[:, None, None]
    gain = VAR / (VAR + sigma[:, None, None] ** 2)
    out = Denoiser(Exact(scales, output), pre)(x, sigma)
    assert torch.allclose(out, MU + gain * (x - MU), atol=1e-8)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_edm_has_unit_input_and_target(sigma_data):
    sigma = torch.tensor([0.01, 0.5, 80.0], dtype=F64)
    skip, out, scale, label = precond.edm(sigma_data)(sigma)
    assert torch.allclose(scale**2 * (sigma**2 + sigma_data**2), torch.ones(3, dtype=F64))
    target = ((1 - skip) ** 2 * sigma_data**2 + skip**2 * sigma**2) / out**2  # of (x0 - c_skip x) / c_out
    assert torch.allclose(target, torch.ones(3, dtype=F64)) and torch.allclose(label, sigma.log() / 4)


@pytest.mark.parametrize("bar", [linear_alphas(), linear_alphas(50), scaled_linear_alphas(), cosine_alphas()])
def test_table_time_is_exact_on_the_table_and_linear_in_log_sigma(bar):
    sigmas = sigmas_of(bar)
    label = precond.eps_vp(bar)(sigmas)[3]
    assert torch.allclose(label, torch.arange(len(bar), dtype=F64), atol=1e-8)
    middle = precond.eps_vp(bar)((sigmas[:-1] * sigmas[1:]).sqrt())[3]
    assert torch.allclose(middle, torch.arange(len(bar) - 1, dtype=F64) + 0.5, atol=1e-6)
    ends = precond.eps_vp(bar)(torch.tensor([1e-9, 1e9], dtype=F64))[3]
    assert ends.tolist() == [0, len(bar) - 1]


def test_float32_labels_stay_near_the_table():
    label = precond.eps_vp(BAR)(sigmas_of(BAR).float())[3]
    assert label.dtype == torch.float32 and (label - torch.arange(1000)).abs().max() < 2e-3


def test_continuous_vp_inverts_its_schedule():
    t = torch.linspace(1e-3, 1, 9, dtype=F64)
    a = vp_alpha(t)
    assert torch.allclose(precond.vp_continuous()((1 - a**2).sqrt() / a)[3], 999 * t)
    assert torch.allclose(precond.sub_vp()((1 - a**2) / a)[3], 999 * t)


def test_bad_options():
    with pytest.raises(ValueError, match="output"):
        precond.ve("noise")
    with pytest.raises(ValueError, match="sigma_data"):
        precond.edm(0.0)


@pytest.mark.parametrize(
    ("kind", "row"), [("epsilon", (1.0, -2.0)), ("v_prediction", (0.2, -2 / math.sqrt(5))), ("sample", (0.0, 1.0))]
)
def test_from_monai_reads_table_and_prediction_type(kind, row):
    class Scheduler:
        prediction_type, alphas_cumprod = kind, BAR.float()

    skip, out, scale, _ = precond.from_monai(Scheduler)(torch.tensor([2.0]))
    assert (float(skip), float(out)) == pytest.approx(row) and float(scale) == pytest.approx(1 / math.sqrt(5))
    Scheduler.prediction_type = "score"
    with pytest.raises(ValueError, match="score"):
        precond.from_monai(Scheduler)

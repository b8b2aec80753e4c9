import pytest
import torch
from torch import nn

from diffzoo.diffusion import precond
from diffzoo.diffusion.denoiser import EMA, Denoiser, expand_as, loss


class Net(nn.Module):
    """Remembers what it was given; returns weight * x."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0, dtype=dtype))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        self.given = (x, c_noise, concat, vector, tokens)
        return self.weight * x


@pytest.mark.parametrize("shape", [(2, 1, 7), (2, 3, 4, 5), (2, 1, 3, 4, 2)])
def test_denoiser_formula_conditions_and_count(shape):
    net, sigma = Net(), torch.tensor([0.5, 3.0])
    model, x, concat = Denoiser(net, precond.edm(0.5)), torch.randn(*shape), torch.zeros(2, 1)
    out = model(x, sigma, concat=concat)
    skip, scale_out, scale_in, label = precond.edm(0.5)(sigma)
    assert torch.allclose(out, expand_as(skip + 2 * scale_out * scale_in, x) * x)
    assert torch.equal(net.given[1], label) and net.given[2] is concat and net.given[3] is None
    bound = model.bind(concat=concat)(x, 3.0)
    assert torch.allclose(bound[1], out[1]) and model.calls == 4


@pytest.mark.parametrize("inner", [torch.float32, torch.bfloat16])
def test_the_state_keeps_its_precision(inner):
    net = Net(inner)
    out = Denoiser(net, precond.edm())(torch.randn(1, 1, 8, dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64))
    assert out.dtype == torch.float64 and net.given[0].dtype == net.given[1].dtype == inner


def test_autocast_touches_the_network_only():
    class Lin(nn.Linear):
        def forward(self, x, label):
            out = super().forward(x)
            self.inner = out.dtype
            return out

    net = Lin(8, 8)
    out = Denoiser(net, precond.edm(), autocast="bfloat16")(torch.randn(1, 1, 8), torch.tensor([1.0]))
    assert net.inner == torch.bfloat16 and out.dtype == torch.float32


def test_loss_default_weight_is_the_networks_own_error():
    """With 1 / c_out^2 the loss is |F - target|^2, target = (x0 - c_skip x) / c_out (Karras et al. 2022, eq. 8)."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2))
    sigma = torch.tensor([0.01, 1.0, 50.0])
    skip, out, scale, _ = (expand_as(c, x0) for c in precond.edm()(sigma))
    x = x0 + expand_as(sigma, x0) * noise
    expected = (2 * scale * x - (x0 - skip * x) / out).pow(2).flatten(1).mean(1)
    model = Denoiser(Net(), precond.edm())
    assert torch.allclose(loss(model, x0, sigma, noise), expected, rtol=1e-3)
    flat = loss(model, x0, sigma, noise, weight=torch.ones_like)
    assert torch.allclose(flat, expected * out.flatten() ** 2, rtol=1e-3)


def test_eps_loss_weight_is_ddpms_simple_loss():
    bar = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    x0, noise = torch.ones(1, 1, 4, dtype=torch.float64), torch.arange(4.0, dtype=torch.float64).reshape(1, 1, 4)
    eps_hat = 2 * (0.5**0.5) * (x0 + noise)  # Net doubles its input, sqrt(abar) (x0 + sigma n) at abar = .5
    value = loss(Denoiser(Net(torch.float64), precond.eps_vp(bar)), x0, torch.ones(1, dtype=torch.float64), noise)
    assert torch.allclose(value, (eps_hat - noise).pow(2).mean())


def test_ema_follows_its_closed_form():
    net = Net()
    ema = EMA(net, decay=0.5)
    expected = 2.0
    for k, value in enumerate([1.0, -3.0, 5.0, 0.0, 2.0, 7.0, 1.0, 1.0, 4.0, -2.0, 6.0]):
        net.weight.data.fill_(value)
        net.seen.fill_(value)
        ema.update(net)
        decay = min(0.5, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * value
    assert float(ema.average.weight) == pytest.approx(expected, rel=1e-5) and float(ema.average.seen) == 6.0
    assert not ema.average.weight.requires_grad and int(ema.updates) == 11 and 8 / 17 < 0.5 <= 9 / 18
    fresh = EMA(Net(), decay=0.5)
    fresh.load_state_dict(ema.state_dict())
    assert int(fresh.updates) == 11 and torch.equal(fresh.average.weight, ema.average.weight)


def test_ema_decay_must_be_a_fraction():
    with pytest.raises(ValueError, match="decay"):
        EMA(Net(), decay=1.0)

"""Adapters start without effect, fold in exactly, and are few; a head is the end of each network of the zoo."""

import copy

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.nn import functional as F

from diffzoo.diffusion.denoiser import EMA
from diffzoo.networks import lora
from diffzoo.networks.diffusemorph import DiffuseMorph
from diffzoo.networks.unet import UNet
from diffzoo.training.setup import prepare
from diffzoo.zoo.bundle import CHECKOUT

SMALL = {"channels": (16, 32), "norm_num_groups": 4, "num_head_channels": 8, "attention_levels": (False, True)}


def small(dims: int = 2) -> nn.Module:
    """A network with every kind of layer, none of them at zero."""
    net = prepare(UNet(spatial_dims=dims, **SMALL), None, 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for value in net.parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=generator)
    return net


def called(net: nn.Module, dims: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        return net(torch.randn((2, 1, *[8] * dims), generator=generator), torch.tensor([0.3, -1.0]))


def moved(net: nn.Module) -> nn.Module:
    """What training might do: every parameter that trains is another."""
    generator = torch.Generator().manual_seed(3)
    for value in net.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn(value.shape, generator=generator)
    return net


@pytest.mark.parametrize("dims", [2, 3])
def test_adapters_start_without_effect_and_the_parent_stays_as_it_is(dims):
    net = small(dims)
    before = copy.deepcopy(net.state_dict())
    adapted = lora.add(net, rank=2)
    assert torch.equal(called(adapted, dims), called(net, dims))
    moved(adapted)
    assert not torch.allclose(called(adapted, dims), called(net, dims), atol=1e-3)
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("dims", [2, 3])
def test_folded_in_they_give_the_same_under_the_keys_of_the_parent(dims):
    net = small(dims)
    adapted = moved(lora.add(net, rank=3, alpha=5))
    plain = lora.merged(adapted)
    fresh = UNet(spatial_dims=dims, **SMALL)
    fresh.load_state_dict(plain.state_dict(), strict=True)
    assert list(plain.state_dict()) == list(net.state_dict())
    assert [p.shape for p in plain.parameters()] == [p.shape for p in net.parameters()]
    torch.testing.assert_close(called(fresh, dims), called(adapted, dims), atol=1e-5, rtol=0)
    assert lora.trainable(adapted)[1] == sum(p.numel() for p in net.parameters())


def test_a_convolution_is_adapted_by_two_convolutions():
    layer, x = nn.Conv2d(12, 10, 3, padding=1), torch.randn(2, 12, 7, 6)
    adapted = moved(lora.add(nn.Sequential(layer), rank=4, alpha=2))
    low = adapted[0]
    down = F.conv2d(x, low.A.view(4, 12, 3, 3), padding=1)
    expected = F.conv2d(x, layer.weight, low.layer.bias, padding=1) + 2 / 4 * F.conv2d(down, low.B[:, :, None, None])
    torch.testing.assert_close(adapted(x), expected, atol=1e-5, rtol=1e-5)


def test_a_linear_layer_is_adapted_by_two_matrices():
    layer, x = nn.Linear(30, 20, bias=False), torch.randn(5, 30)
    adapted = moved(lora.add(nn.Sequential(layer), rank=2))
    low = adapted[0]
    torch.testing.assert_close(adapted(x), layer(x) + x @ low.A.T @ low.B.T, atol=1e-5, rtol=1e-5)
    assert lora.merged(adapted)[0].bias is None


def test_adapters_and_vectors_get_gradients_and_nothing_else_does():
    adapted = lora.add(small(), rank=2)
    adapted(torch.randn(1, 1, 8, 8), torch.zeros(1)).square().mean().backward()
    names = {name for name, value in adapted.named_parameters() if value.grad is not None}
    low = {name for name, _ in adapted.named_parameters() if name.endswith((".A", ".B"))}
    assert names == low | {name for name, value in adapted.named_parameters() if value.ndim == 1} and low < names


def test_draws_follow_the_seed():
    first, again, other = (lora.add(small(), rank=2, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert {key for key in first if not torch.equal(first[key], other[key])} == {key for key in first if key.endswith(".A")}


def test_an_average_follows_adapters():
    adapted = lora.add(small(), rank=2)
    ema = EMA(adapted, decay=0.0)
    ema.update(moved(adapted))
    assert torch.equal(called(lora.merged(ema.average)), called(lora.merged(adapted)))


def network_of(name: str) -> nn.Module:
    parser = ConfigParser()
    parser.read_config(str(CHECKOUT / name / "configs" / "train.yaml"))
    return parser.get_parsed_content("network_def")


@pytest.mark.parametrize("name", ["score_mri", "dolce"])
def test_adapters_of_the_default_rank_are_a_tenth_of_a_network(name):
    trains, total = lora.trainable(lora.add(network_of(name)))
    assert total == sum(p.numel() for p in network_of(name).parameters())
    assert 0.02 < trains / total < 0.1


def test_a_head_is_the_end_of_each_network():
    pair = DiffuseMorph(2, (8, 16), 1, 4, deform_channels=(8, 8, 8, 8))
    for net, names in (
        (small(), ["unet.out", "unet.up_blocks.1"]),
        (
            pair,
            ["diffusion.unet.out", "diffusion.unet.up_blocks.1", *[f"deformation.net.1.final_conv_{k}" for k in ("0", "out")]],
        ),
    ):
        assert sorted(lora.head(net)) == sorted(names)
        frozen = lora.freeze(net)
        training = {name for name, value in frozen.named_parameters() if value.requires_grad}
        assert training == {name for name, _ in net.named_parameters() if name.startswith(tuple(f"{n}." for n in names))}
        trains, total = lora.trainable(frozen)
        assert 0 < trains < 0.5 * total
        assert all(p.requires_grad for p in net.parameters())


def test_what_trains_may_be_named():
    frozen = lora.freeze(small(), but=["unet.conv_in"])
    assert {name for name, p in frozen.named_parameters() if p.requires_grad} == {
        "unet.conv_in.conv.weight",
        "unet.conv_in.conv.bias",
    }


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lora.add(small(), rank=0), "rank .* 1 or more, not 0"),
        (lambda: lora.add(small(), rank=1000), "no layer .* rank 1000: take a lower one"),
        (lambda: lora.add(lora.add(small(), rank=2)), "has adapters already"),
        (lambda: lora.freeze(small(), but=["unet.missing"]), "no submodule 'unet.missing': name those"),
        (lambda: lora.freeze(nn.Linear(2, 2)), "no layers that are known to be the last: name those"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()

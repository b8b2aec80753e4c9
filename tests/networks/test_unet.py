"""The U-Net at any size, its conditions, and the exact inverse of its stem."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffzoo.networks.unet import UNet, fold, pad_to_multiple, unfold

SMALL = {"channels": (8, 16), "norm_num_groups": 4, "num_head_channels": 8}


def network(**options) -> UNet:
    """A small network with random weights in every layer, also in those that start at zero."""
    torch.manual_seed(0)
    net = UNet(**(SMALL | options))
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.1)
    return net.eval()


@torch.no_grad()
def answer(net, x, **cond):
    return net(x, torch.zeros(len(x)), **cond)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (5, 40), (1, 3)])
@pytest.mark.parametrize("shuffle", [1, 2])
def test_2d_output_has_the_size_of_the_input(size, shuffle):
    net = network(in_channels=2, out_channels=3, shuffle=shuffle)
    assert answer(net, torch.randn(2, 2, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("shuffle", [1, 2])
def test_3d_output_has_the_size_of_the_input(shuffle):
    net = network(spatial_dims=3, shuffle=shuffle)
    assert answer(net, torch.randn(1, 1, 9, 6, 11)).shape == (1, 1, 9, 6, 11)


def test_padding_repeats_the_border_and_only_adds():
    x = torch.randn(1, 2, 5, 8)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 2, 8, 8)
    assert torch.equal(padded[:, :, :5], x)
    assert torch.equal(padded[:, :, 5:], x[:, :, 4:].expand(1, 2, 3, 8))
    assert pad_to_multiple(x, 1) is x


def test_an_item_does_not_depend_on_its_batch():
    net, x = network(shuffle=2), torch.randn(3, 1, 12, 12)
    torch.testing.assert_close(answer(net, x)[1:2], answer(net, x[1:2]), rtol=1e-4, atol=1e-5)


def test_the_noise_label_matters_and_is_scaled():
    x, label = torch.randn(1, 1, 8, 8), torch.tensor([0.7])
    plain, scaled = network(), network(label_scale=10.0)
    with torch.no_grad():
        assert not torch.allclose(plain(x, label), plain(x, 2 * label))
        torch.testing.assert_close(scaled(x, label), plain(x, 10 * label))


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ({"concat_channels": 2}, "concat", torch.ones(2, 2, 9, 10)),
        ({"vector_size": 3}, "vector", torch.eye(3)[:2]),
        ({"token_size": 5, "attention_levels": (False, True)}, "tokens", torch.ones(2, 4, 5)),
    ],
)
def test_conditions_are_used_and_only_where_declared(option, name, value):
    x, net = torch.randn(2, 1, 9, 10), network(**option)
    assert not torch.allclose(answer(net, x, **{name: value}), answer(net, x, **{name: -value}), atol=1e-6)
    with pytest.raises(ValueError, match=f"{name!r} is missing"):
        answer(net, x)
    with pytest.raises(ValueError, match=f"{name!r} is not taken"):
        answer(network(), x, **{name: value})


def test_a_one_hot_vector_is_a_class_embedding():
    """The linear layer in place of MONAI's table: a one-hot vector picks a column, and mixtures lie between."""
    net = network(vector_size=3)
    layer = net.unet.class_embedding
    picked = layer(torch.eye(3)) - layer.bias
    torch.testing.assert_close(picked, layer.weight.T)


@settings(deadline=None, max_examples=40)
@given(
    blocks=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    factor=st.integers(1, 3),
    channels=st.integers(1, 3),
)
def test_unfold_inverts_fold_and_no_pixel_is_lost(blocks, factor, channels):
    size = [n * factor for n in blocks]
    x = torch.arange(2 * channels * torch.Size(size).numel(), dtype=torch.float64).reshape(2, channels, *size)
    folded = fold(x, factor)
    assert folded.shape == (2, channels * factor ** len(size), *blocks)
    assert torch.equal(unfold(folded, factor), x)
    for item, image in zip(folded, x, strict=True):
        assert torch.equal(item.flatten().sort().values, image.flatten())


@pytest.mark.parametrize("factor", [2, 3])
def test_fold_is_torch_pixel_unshuffle_in_2d(factor):
    x = torch.randn(2, 3, 4 * factor, 5 * factor)
    assert torch.equal(fold(x, factor), F.pixel_unshuffle(x, factor))
    assert torch.equal(unfold(fold(x, factor), factor), F.pixel_shuffle(F.pixel_unshuffle(x, factor), factor))


def test_fold_gathers_a_block_of_neighbours_in_3d():
    x = torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    assert torch.equal(fold(x, 2)[0, :, 1, 0, 1], x[0, 0, 2:4, 0:2, 2:4].flatten())

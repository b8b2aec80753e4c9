"""The autoencoder at any size, against MONAI's own, and its maps that sum to 1."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.networks.autoencoder import Autoencoder


def network(spatial_dims=2, **options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(spatial_dims, channels=(4, 8, 8), norm_num_groups=2, **({"in_channels": 2} | options)).eval()


@settings(deadline=None, max_examples=12)
@given(size=st.lists(st.integers(1, 21), min_size=1, max_size=3))
def test_any_size_comes_back_and_latents_cover_it(size):
    net, x = network(len(size)), torch.rand(2, 2, *size)
    with torch.no_grad():
        mean, sd = net.encode(x)
        assert mean.shape == sd.shape == (2, 3, *(-(-n // 4) for n in size))
        assert (sd > 0).all()
        assert net(x).shape == net.decode(mean, size).shape == x.shape
        assert net.decode(mean).shape == (2, 2, *(4 * n for n in mean.shape[2:]))


@torch.no_grad()
def test_sizes_that_it_can_halve_are_monais():
    net, x = network(), torch.rand(2, 2, 8, 16)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(net.encode(x), net.autoencoder.encode(x), strict=True))
    assert torch.equal(net(x), net.autoencoder.reconstruct(x))


@torch.no_grad()
def test_an_odd_size_is_the_corner_of_one_that_repeats_its_border():
    net, x = network(), torch.rand(1, 2, 6, 7)
    wide = torch.cat([x, x[:, :, -1:].expand(-1, -1, 2, -1)], 2)
    wide = torch.cat([wide, wide[..., -1:]], 3)
    torch.testing.assert_close(net(x), net(wide)[:, :, :6, :7])


@settings(deadline=None, max_examples=10)
@given(
    labels=st.integers(2, 6), size=st.lists(st.integers(3, 12), min_size=2, max_size=2), far=st.floats(0, 3), half=st.booleans()
)
def test_soft_labels_are_a_partition_of_unity(labels, size, far, half):
    net = network(in_channels=labels, soft_labels=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        maps = net.decode(10**far * torch.randn(2, 3, *size))
        raw = net.autoencoder.decode(torch.randn(2, 3, *size)).float()
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum(1), torch.ones(2, *maps.shape[2:]), rtol=0, atol=1e-5)
    assert not torch.allclose(raw.sum(1), torch.ones_like(raw[:, 0]), atol=0.1)  # it is the head that does it


def test_a_single_soft_label_is_refused_and_attention_is_optional():
    with pytest.raises(ValueError, match="2 channels or more, not 1"):
        network(in_channels=1, soft_labels=True)
    names = [{name for name, _ in network(attention=on).named_parameters() if "attn" in name} for on in (True, False)]
    assert names[0] and not names[1]

"""Modulation by label maps against its formula and MONAI's block, the generator at any size, and what map and code change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.blocks.spade_norm import SPADE
from torch import nn
from torch.nn import functional as F

from diffzoo.networks.modality import ModalityClassifier
from diffzoo.networks.spade import Spade, SpadeBlock, SpadeGenerator, resized


def generator(dims=2, **options) -> SpadeGenerator:
    torch.manual_seed(0)
    return SpadeGenerator(
        dims, **({"labels": 3, "channels": (8, 8, 4), "style_size": 5, "hidden": 6, "style_channels": (4, 6)} | options)
    )


def maps(*size, seed=0, count=2) -> torch.Tensor:
    return (3 * torch.randn((count, 3, *size), generator=torch.Generator().manual_seed(seed))).softmax(1)


def middle(conv: nn.Module, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Makes a 3 x 3 convolution one of 1 x 1."""
    conv.weight.data.zero_()
    conv.weight.data[:, :, 1, 1], conv.bias.data[:] = weight, bias


@torch.no_grad()
def test_modulation_by_hand():
    """hidden = maps, gamma = (2 m0, m1), beta = (m1 - 3, 5): norm(x) (1 + gamma) + beta, the norm over both channels."""
    spade = Spade(2, 2, 2, 2)
    middle(spade.shared, torch.eye(2), torch.zeros(2))
    middle(spade.gamma_beta, torch.tensor([[2.0, 0], [0, 1], [0, 1], [0, 0]]), torch.tensor([0.0, 0, -3, 5]))
    x, m = torch.randn(1, 2, 3, 4), torch.rand(1, 2, 3, 4)
    norm = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    wanted = torch.stack([norm[:, 0] * (1 + 2 * m[:, 0]) + m[:, 1] - 3, norm[:, 1] * (1 + m[:, 1]) + 5], 1)
    torch.testing.assert_close(spade(x, m), wanted)


@torch.no_grad()
def test_with_instance_norm_it_is_monais_block_without_the_norm_of_gamma_and_beta():
    theirs = SPADE(3, 4, 3, 2, 6, "INSTANCE", {"affine": False})
    ours = Spade(2, 4, 3, 6, groups=4)
    theirs.mlp_shared.adn, theirs.mlp_gamma.adn, theirs.mlp_beta.adn = nn.ReLU(), nn.Identity(), nn.Identity()
    ours.shared.load_state_dict(theirs.mlp_shared.conv.state_dict())
    ours.gamma_beta.weight.copy_(torch.cat([theirs.mlp_gamma.conv.weight, theirs.mlp_beta.conv.weight]))
    ours.gamma_beta.bias.copy_(torch.cat([theirs.mlp_gamma.conv.bias, theirs.mlp_beta.conv.bias]))
    x, m = torch.randn(2, 4, 6, 7), maps(6, 7)
    torch.testing.assert_close(ours(x, m), theirs(x, m))


@torch.no_grad()
def test_a_constant_map_still_modulates_and_does_so_evenly():
    """In MONAI's block it gives gamma = beta = 0: which tissue it is would not count."""
    spade = Spade(2, 4, 3, 6)
    x = torch.randn(1, 4, 9, 9)
    tissue = [F.one_hot(torch.tensor(k), 3).float().view(1, 3, 1, 1).expand(1, 3, 9, 9) for k in range(2)]
    changes = [(spade(x, m) - spade.norm(x))[..., 2:-2, 2:-2] for m in tissue]
    norm = spade.norm(x)[..., 2:-2, 2:-2]
    for m, change in zip(tissue, changes, strict=True):
        gamma, beta = spade.gamma_beta(F.relu(spade.shared(m)))[..., 4, 4].chunk(2, 1)
        torch.testing.assert_close(change, norm * gamma[..., None, None] + beta[..., None, None])
        assert gamma.abs().min() > 1e-4
    assert not torch.allclose(*changes, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(factor=st.integers(1, 4), blocks=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_coarser_maps_are_means_and_still_a_partition_of_unity(factor, blocks, seed):
    fine = maps(*(factor * n for n in blocks), seed=seed)
    coarse = resized(fine, blocks)
    wanted = fine
    for axis in range(2, fine.ndim):
        wanted = wanted.unflatten(axis, (-1, factor)).mean(axis + 1)
    torch.testing.assert_close(coarse, wanted)
    torch.testing.assert_close(coarse.sum(1), torch.ones_like(coarse[:, 0]), rtol=0, atol=1e-5)


def test_a_thin_line_keeps_its_share_where_the_nearest_value_loses_it():
    line = torch.zeros(1, 1, 16, 16)
    line[..., 7] = 1
    assert resized(line, (4, 4)).sum() == 4 * 0.25
    assert F.interpolate(line, (4, 4), mode="nearest").sum() == 0


@settings(deadline=None, max_examples=10)
@given(size=st.lists(st.integers(1, 19), min_size=1, max_size=3))
def test_any_size_is_painted(size):
    net = generator(len(size))
    with torch.no_grad():
        image = net(maps(*size), torch.randn(2, 5))
        mean, sd = net.encode(image)
    assert image.shape == (2, 1, *size)
    assert mean.shape == sd.shape == (2, 5)
    assert (sd > 0).all()


@torch.no_grad()
def test_map_and_code_change_the_image_and_a_block_the_places_it_sees():
    net, z = generator().eval(), torch.randn(2, 5)
    m, other = maps(16, 16), maps(16, 16, seed=1)
    image = net(m, z)
    assert torch.equal(image, net(m, z))
    assert (image - net(other, z)).abs().amax((1, 2, 3)).min() > 1e-3
    assert (image - net(m, z + 1)).abs().amax((1, 2, 3)).min() > 1e-3
    torch.testing.assert_close(image[:1], net(m[:1], z[:1]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(*net.encode(image)[0], atol=1e-5)


@torch.no_grad()
def test_the_code_survives_the_norm_as_instance_norm_would_not_let_it():
    """On an even map, away from the border, all that the code does is to shift channels: instance norm takes that away."""
    even = F.one_hot(torch.zeros(2, 32, 32, dtype=torch.long), 3).movedim(-1, 1).float()
    z = torch.stack([torch.zeros(5), torch.ones(5)])
    change = {}
    for groups in (1, 8):
        block = SpadeBlock(2, 8, 8, 3, 6, groups)
        x = z.sum(1).view(2, 1, 1, 1) * torch.linspace(-1, 1, 8).view(1, 8, 1, 1) + torch.randn(1, 8, 32, 32)
        change[groups] = (block(x, even) - x).diff(dim=0).abs().mean()
    assert change[8] < 1e-5 < 0.01 < change[1]


def test_a_block_of_other_width_goes_around_by_a_modulated_convolution():
    narrow, same = SpadeBlock(3, 6, 4, 3, 5), SpadeBlock(3, 4, 4, 3, 5)
    assert narrow(torch.randn(1, 6, 4, 5, 3), maps(4, 5, 3, count=1)).shape == (1, 4, 4, 5, 3)
    assert same.around is None
    same.out.weight.data.zero_()
    same.out.bias.data.zero_()
    x = torch.randn(1, 4, 4, 5, 3)
    assert torch.equal(same(x, maps(4, 5, 3, count=1)), x)


def test_maps_and_codes_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="maps of 3 labels, not of 4"):
        generator()(torch.rand(1, 4, 8, 8), torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r"2 maps need style codes \[2, 5\], not \[1, 5\]"):
        generator()(maps(8, 8), torch.zeros(1, 5))


def test_the_default_is_of_the_size_that_a_core_paints_quickly():
    assert 1.3e6 < sum(p.numel() for p in SpadeGenerator().parameters()) < 1.7e6


@pytest.mark.parametrize("size", [(20, 17), (9, 8, 11), (1, 1)])
def test_the_classifier_tells_features_and_logits_at_any_size(size):
    torch.manual_seed(0)
    net = ModalityClassifier(len(size), classes=4, channels=(4, 8))
    x = torch.randn(3, 1, *size)
    *features, logits = net(x)
    assert [f.shape[:2] for f in features] == [(3, 4), (3, 8)]
    assert logits.shape == (3, 4)
    torch.testing.assert_close(net(x[1:2])[-1], logits[1:2], rtol=1e-4, atol=1e-5)

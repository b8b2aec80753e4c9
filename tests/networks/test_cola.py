"""The parts of CoLa-Diff: collaborative filtering, auto-weights, and the network that they make."""

import copy

import pytest
import torch

from diffzoo.networks.auto_weight import AutoWeight
from diffzoo.networks.cola import ColaUNet
from diffzoo.networks.collaborative_filter import CollaborativeFilter, cosine_matrix, haar_matrix

GENERATOR = torch.Generator().manual_seed(0)


def conditions(batch=2, size=(8, 12), latent=2, roles=3, regions=3):
    concat = torch.rand(batch, latent * roles + regions + roles + 1, *size, generator=GENERATOR)
    return {"concat": concat, "vector": torch.rand(batch, 2 * roles + 1, generator=GENERATOR)}


def small(**switches):
    torch.manual_seed(0)
    return ColaUNet(2, 3, 3, (16, 32), (False, False), **switches)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_transforms_are_orthonormal(size):
    for matrix in (cosine_matrix(size), haar_matrix(size)):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), atol=1e-6, rtol=0)
        torch.testing.assert_close(matrix[0], torch.full((size,), size**-0.5))


def test_a_filter_begins_as_the_identity_and_without_threshold_stays_one():
    h = torch.randn(2, 3, 16, 19, generator=GENERATOR)
    block = CollaborativeFilter()
    assert torch.equal(block(h), h)
    with torch.no_grad():
        block.gate.fill_(1.0)
        block.theta.fill_(-40.0)
    torch.testing.assert_close(block(h), h, atol=1e-5, rtol=0)


def test_white_noise_falls_and_a_repeated_pattern_stays():
    pattern = torch.zeros(4, 4)
    pattern[:2, :2] = 4.0
    pattern = (pattern - pattern.mean()).repeat(10, 12)[None, None]
    noise = 0.15 * torch.randn(pattern.shape, generator=GENERATOR)
    block = CollaborativeFilter(stride=2, neighbours=8, window=24, threshold=0.4)
    cleaned, kept = block.filtered(pattern + noise), block.filtered(pattern)
    inner = (..., slice(6, -6), slice(6, -6))
    assert (cleaned - pattern)[inner].std() < 0.7 * noise[inner].std()
    assert (kept - pattern)[inner].norm() < 0.05 * pattern[inner].norm()


def test_a_filter_can_be_learnt_and_switched_off():
    h = torch.randn(1, 2, 12, 12, generator=GENERATOR)
    block = CollaborativeFilter()
    with torch.no_grad():
        block.gate.fill_(0.5)
    block(h).square().sum().backward()
    assert block.theta.grad.abs().sum() > 0 and block.gate.grad.abs() > 0
    block.enabled = False
    assert torch.equal(block(h), h)
    assert torch.equal(CollaborativeFilter()(h[..., :3, :3]), h[..., :3, :3])
    with pytest.raises(ValueError, match="a patch of 1, 2, 4"):
        CollaborativeFilter(patch=3)


def test_auto_weights_begin_at_one_and_a_half_and_follow_their_formula():
    y = torch.randn(2, 5, 6, 7, generator=GENERATOR)
    weigh = AutoWeight(5)
    torch.testing.assert_close(weigh(y), 1.5 * y)
    with torch.no_grad():
        weigh.gamma.copy_(torch.linspace(-1, 1, 5))
        weigh.beta.fill_(0.2)
    energy = (y.square().sum((2, 3)) + 1e-5).sqrt()
    norm = torch.linspace(-1, 1, 5) / (energy.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(weigh.factors(y), 1 + torch.sigmoid(energy * norm + 0.2))


def test_the_network_takes_its_conditions_and_copies_whole():
    network, told = small(), conditions()
    x = torch.randn(2, 2, 8, 12, generator=GENERATOR)
    found = network(x, torch.zeros(2), **told)
    assert found.shape == x.shape and network(x).shape == x.shape
    twin = copy.deepcopy(network)
    twin.load_state_dict(network.state_dict(), strict=True)
    torch.testing.assert_close(twin(x, torch.zeros(2), **told), found)
    assert network.factors(told["concat"]).shape == (2, 4) and torch.allclose(network.factors(told["concat"]), torch.tensor(1.5))


def test_each_part_can_be_switched_off():
    told, x = conditions(), torch.randn(2, 2, 8, 12, generator=GENERATOR)
    whole = small()
    with torch.no_grad():
        whole.weigh.beta.fill_(1.0)
        whole.unet.unet.up_blocks[-1].after.gate.fill_(1.0)
        whole.unet.unet.up_blocks[-1].after.theta.fill_(1.0)
        torch.nn.init.normal_(whole.unet.unet.out[-1].conv.weight, generator=GENERATOR)
    results = [whole(x, torch.zeros(2), **told)]
    for switch in ("weighted", "structured", "filtered"):
        part = small(**{switch: False})
        part.load_state_dict(whole.state_dict(), strict=True)
        results.append(part(x, torch.zeros(2), **told))
    assert all(not torch.allclose(results[0], other, atol=1e-4) for other in results[1:])
    without = small(structured=False)
    changed = told["concat"].clone()
    changed[:, 6:9] = 0.5
    torch.testing.assert_close(
        without(x, torch.zeros(2), **told), without(x, torch.zeros(2), concat=changed, vector=told["vector"])
    )

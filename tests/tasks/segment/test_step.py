"""The joint training step: its divergence has a gradient, falls, and can be frozen; and the step of the one-call network."""

from types import SimpleNamespace

import pytest
import torch

from diffzoo.diffusion.denoiser import loss
from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.schedule import loguniform
from diffzoo.networks.ambiguity import AmbiguityNetworks
from diffzoo.networks.unet import UNet
from diffzoo.tasks.denoise import DenoiseInferer
from diffzoo.tasks.segment.step import AmbiguityStep, CrossEntropyStep, CrossEntropyValidation
from diffzoo.training.adversarial import companion
from diffzoo.training.setup import adam


def engine(network, inferer=None):
    state = SimpleNamespace(device=torch.device("cpu"), iteration=1, output={})
    optimizer = adam(network, lr=1e-3)
    return SimpleNamespace(network=network, optimizer=optimizer, loss_function=loss, inferer=inferer, state=state)


def unet():
    torch.manual_seed(0)
    return UNet(2, 1, 1, [8, 16], 1, num_head_channels=8, norm_num_groups=4, shuffle=2, concat_channels=1)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand((4, 1, 16, 16), generator=generator)
    return {"image": (image > 0.7).float() * 2 - 1, "concat": image}


def stepped(batch, freeze=False, weight=1e-3, steps=60):
    """What each step tells, and the ambiguity networks' weights before and after."""
    worker, networks = engine(unet(), DenoiseInferer(edm(1.0))), AmbiguityNetworks((4, 8), 3)
    pair = companion(networks, lr=3e-3)
    before = {k: v.clone() for k, v in pair.network.state_dict().items()}
    step, told = AmbiguityStep(pair, loguniform(0.5, 5.0), weight=weight, freeze=freeze), []
    for k in range(steps):
        worker.state.iteration = k + 1
        told.append(dict(step(worker, batch)))
    same = all(torch.equal(before[k], v) for k, v in pair.network.state_dict().items())
    return told, same, worker.network


def test_the_divergence_has_a_gradient_and_falls(batch):
    told, same, _ = stepped(batch)
    assert told[0]["ambiguity_slope"] > 0 and not same
    assert sum(t["ambiguity_kl"] for t in told[-10:]) < 0.5 * sum(t["ambiguity_kl"] for t in told[:10])
    assert sum(t["loss"] for t in told[-10:]) < sum(t["loss"] for t in told[:10])


def test_frozen_networks_stay_where_they_are(batch):
    told, same, _ = stepped(batch, freeze=True, steps=3)
    assert same and told[0]["ambiguity_slope"] > 0


def test_its_gradient_reaches_the_denoiser(batch):
    without, with_it = (stepped(batch, weight=w, steps=2)[2].state_dict() for w in (0.0, 10.0))
    assert any(not torch.equal(without[k], v) for k, v in with_it.items())


def test_parts_of_a_batch_tell_the_same_divergence(batch):
    worker, pair = engine(unet(), DenoiseInferer(edm(1.0))), companion(AmbiguityNetworks((4, 8), 3), lr=0.0)
    told = []
    for parts in (1, 2):
        worker.optimizer.param_groups[0]["lr"] = 0.0
        told.append(dict(AmbiguityStep(pair, loguniform(0.5, 5.0), accumulate=parts)(worker, batch)))
    for key in ("loss", "ambiguity_kl", "ambiguity_slope"):
        assert told[1][key] == pytest.approx(told[0][key], rel=1e-4)


def test_the_one_call_network_learns_a_mask_that_is_in_the_image(batch):
    worker, step = engine(unet()), CrossEntropyStep()
    worker.optimizer.param_groups[0]["lr"] = 0.01
    first = step(worker, batch)["loss"]
    for _ in range(60):
        last = step(worker, batch)["loss"]
    assert last < 0.6 * first
    assert CrossEntropyValidation()(worker, batch)["score"] == pytest.approx(-last, abs=0.05)

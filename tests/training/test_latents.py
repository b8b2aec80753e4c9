"""Latents encoded once: what a batch holds, its conditions, and a diffusion network that learns from it by the usual step."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training_toy import trainer

from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.schedule import lognormal
from diffzoo.networks.autoencoder import Autoencoder
from diffzoo.networks.composite import LatentDiffusion, part, scaled
from diffzoo.networks.unet import UNet
from diffzoo.tasks.denoise import DenoiseInferer
from diffzoo.training.latents import Latents, label_conditions
from diffzoo.training.setup import adam, prepare
from diffzoo.training.steps import DiffusionStep


class Codes(nn.Module):
    """An autoencoder whose latents are the image and its double, with a deviation of an eighth."""

    latent_channels = 2

    def encode(self, x):
        mean = torch.cat([x, 2 * x], 1)
        return mean, torch.full_like(mean, 0.125)


def coded(sd=True) -> LatentDiffusion:
    net = LatentDiffusion(Codes(), nn.Identity())
    net.scale.copy_(torch.tensor([1.0, 0.5]))
    if not sd:
        encode = net.autoencoder.encode
        net.autoencoder.encode = lambda x: (encode(x)[0], torch.zeros_like(encode(x)[1]))
    return net


def source(batches=2, count=3, seed=0) -> list[dict]:
    """Images whose values tell of which item and voxel they are."""
    shape = (batches * count, 1, 2, 3)
    images = torch.arange(float(torch.Size(shape).numel())).reshape(shape).chunk(batches)
    return [{"image": x, "position": x[:, 0, 0, 0], "vector": x[:, 0, 0, :2]} for x in images]


def position(batch) -> torch.Tensor:
    return torch.stack([batch["position"], -batch["position"]], 1)


def test_a_batch_is_of_scaled_latents_and_their_conditions_stay_with_them():
    data = Latents(coded(sd=False), source(), position, batch_size=50)
    batch = data[0]
    assert batch["image"].shape == (50, 2, 2, 3)
    assert torch.equal(batch["image"][:, 0], batch["image"][:, 1])  # twice as large, half the scale
    first = batch["image"][:, 0, 0, 0]
    assert set(first.tolist()) == {0.0, 6, 12, 18, 24, 30}
    assert torch.equal(batch["tokens"][..., 2], torch.stack([first, -first], 1))
    assert torch.equal(batch["tokens"][:, :, :2], torch.eye(2).expand(50, 2, 2))
    assert torch.equal(batch["vector"], torch.stack([first, first + 1], 1))


def test_mirrors_are_those_of_the_image_before_it_is_encoded():
    class Sloped(Codes):
        def encode(self, x):
            mean = torch.cat([x, 2 * x + torch.arange(3.0)], 1)  # tells left from right
            return mean, torch.zeros_like(mean)

    net, images = LatentDiffusion(Sloped(), nn.Identity()), source(1, 1)
    for flips, wanted in (((), [[]]), ((1,), [[], [3]]), ((0, 1), [[], [2], [3], [2, 3]])):
        held = Latents(net, images, position, flips).encoded
        assert len(held["posterior"]) == len(held["values"]) == len(held["vector"]) == len(wanted)
        for got, axes in zip(held["posterior"], wanted, strict=True):
            assert torch.equal(got[:2].float(), net.autoencoder.encode(images[0]["image"].flip(axes))[0][0])


def test_latents_are_samples_of_the_posterior_and_a_function_of_seed_and_epoch():
    still = source(1, 1)
    data = Latents(coded(), still, batch_size=2000, seed=3)
    x = data[0]["image"] - still[0]["image"]
    torch.testing.assert_close(x.std(0).mean((1, 2)), torch.tensor([0.125, 0.0625]), rtol=0.03, atol=0)
    again = Latents(coded(), still, batch_size=2000, seed=3)
    assert torch.equal(again[0]["image"], data[0]["image"])
    assert not torch.equal(data[1]["image"], data[0]["image"])
    again.epoch = 2
    assert not torch.equal(again[0]["image"], data[0]["image"])
    assert len(data) == 100
    with pytest.raises(IndexError):
        data[100]


def test_without_samples_latents_are_the_means():
    data = Latents(coded(), source(1, 1), batch_size=3, sampled=False)
    assert torch.equal(data[0]["image"], data[1]["image"])
    assert torch.equal(data[0]["image"][:, :1], source(1, 1)[0]["image"].expand(3, -1, -1, -1))


def test_conditions_are_forgotten_all_at_once_and_one_by_one():
    data = Latents(coded(), source(), position, forget=0.25, batch_size=4000)
    known = data[0]["tokens"][:, :, :2].sum(2)
    # half of those that are not forgotten whole lose each at a rate u of their own: the mean of u^2 and of (1 - u)^2 is 1/3
    assert known.all(1).float().mean() == pytest.approx(0.75 * (0.5 + 0.5 / 3), abs=0.03)
    assert (known.sum(1) == 0).float().mean() == pytest.approx(0.25 + 0.75 * 0.5 / 3, abs=0.03)
    assert Latents(coded(), source(), position, batch_size=500)[0]["tokens"][:, :, :2].sum((1, 2)).eq(2).all()


def test_an_empty_source_is_refused_and_without_conditions_there_are_no_tokens():
    with pytest.raises(ValueError, match="no images to encode"):
        Latents(coded(), [])
    assert set(Latents(coded(), source())[0]) == {"image", "vector"}


@settings(deadline=None, max_examples=20)
@given(lesion=st.floats(0, 1), place=st.floats(0, 1), size=st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_label_conditions_by_hand(lesion, place, size):
    """Two tissues of a half and a quarter of the field, and a lesion in one voxel."""
    maps = torch.zeros(1, 4, *size)
    maps[:, 0], maps[:, 1], maps[:, 2] = 0.25, 0.5, 0.25
    maps[(0, slice(None), *(0 for _ in size))] = torch.tensor([0, 0, 1 - lesion, lesion])
    found = label_conditions({"image": maps, "position": torch.tensor([place])})
    sites = torch.Size(size).numel()
    shares = [0.5 * (sites - 1) / sites, (0.25 * (sites - 1) + 1 - lesion) / sites, lesion / sites]
    torch.testing.assert_close(found, torch.tensor([[float(lesion > 0.5), place, *(share**0.5 for share in shares)]]))
    assert label_conditions({"image": maps, "position": torch.zeros(1)}, lesion=1)[0, 0] == 0


def test_the_usual_step_trains_the_network_of_latents_and_nothing_else():
    torch.manual_seed(0)
    inner = UNet(2, 3, 3, (8, 16), attention_levels=(False, True), num_head_channels=8, norm_num_groups=4, token_size=6)
    net = LatentDiffusion(Autoencoder(2, 4, (8, 8), norm_num_groups=4, soft_labels=True), inner)
    net = prepare(net, None, 0, torch.device("cpu"))
    net.autoencoder.autoencoder.quant_conv_log_sigma.conv.bias.data[:] = -6.0  # or the latents of so young a network are noise
    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "image": (4 * torch.randn((4, 4, 9, 12), generator=generator)).softmax(1),
            "position": torch.rand(4, generator=generator),
        }
        for _ in range(2)
    ]
    net = scaled(net, batches)
    data = Latents(net, batches, label_conditions, flips=(0,), forget=0.1, batch_size=8, batches=25)
    assert data.encoded["posterior"].shape == (16, 6, 5, 6)
    assert data[0]["tokens"].shape == (8, 5, 6)
    before = copy.deepcopy(net.state_dict())
    engine = trainer(DiffusionStep(lognormal(-0.5, 1.0)), net)
    engine.optimizer, engine.inferer = adam(part(net, "diffusion"), 5e-3), DenoiseInferer(edm(1.0))
    told = []
    for step in range(25):
        engine.state.iteration = step + 1
        told.append(engine._process_function(engine, data[step])["loss"])
    assert sum(told[-5:]) < 0.8 * sum(told[:5])
    moved = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"diffusion"}

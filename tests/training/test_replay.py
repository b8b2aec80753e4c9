"""Replay is a distance to the parent, and it keeps what fine-tuning would forget."""

import itertools

import pytest
import torch
from torch import nn
from training_toy import EDM, Shades, Toy, error, levels, trainer

from diffzoo.diffusion.denoiser import Denoiser, expand_as
from diffzoo.diffusion.noise import stream
from diffzoo.diffusion.precond import edm
from diffzoo.networks import lora
from diffzoo.training.replay import OldBatches, ParentSamples, Replay
from diffzoo.training.steps import DiffusionStep

OLD, NEW = 0.8, -0.8


def trained(net, mean, steps, replay=None, lr=0.02):
    """The network after some steps on images about one shade."""
    engine = trainer(DiffusionStep(levels, replay=replay), net, lr)
    engine.run(Shades(mean, batch_size=8, batches=steps, seed=round(10 * mean)), max_epochs=1)
    return net


@pytest.fixture(scope="module")
def parent():
    """A network that knows the old shade well."""
    net = trained(Toy(16), OLD, 150)
    assert error(net, OLD) < 0.25 * error(Toy(16), OLD)
    return net


def copied(net):
    twin = Toy(16)
    twin.load_state_dict(net.state_dict())
    return twin


def old() -> Shades:
    return Shades(OLD, batch_size=8, batches=60, seed=3)


@pytest.fixture(scope="module")
def naive(parent):
    """The parent fine-tuned on the new shade alone."""
    return trained(copied(parent), NEW, 60)


def test_replay_of_old_data_keeps_most_of_what_was_known(parent, naive):
    kept = trained(copied(parent), NEW, 60, Replay(parent, old(), levels))
    before, lost, less = (error(net, OLD) for net in (parent, naive, kept))
    assert lost > 1.3 * before  # it does forget
    assert less - before < 0.5 * (lost - before)
    start, free, bound = (error(net, NEW) for net in (parent, naive, kept))
    assert start - bound > 0.9 * (start - free)  # and what is new is learnt


def test_replay_of_the_parents_own_samples_forgets_less(parent, naive):
    samples = ParentSamples(parent, edm(0.5), Shades(NEW, batch_size=8, batches=9), batches=6, sigma=8.0)
    kept = trained(copied(parent), NEW, 60, Replay(parent, samples, levels))
    before, lost, less = (error(net, OLD) for net in (parent, naive, kept))
    assert less - before < 0.7 * (lost - before)


class Scale(nn.Module):
    """One weight: the output is the input times it."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        return self.weight * x


def test_a_larger_weight_stays_nearer_to_the_parent():
    ends = []
    for weight in (0.0, 0.5, 4.0):
        net = Scale(2.0)
        engine = trainer(DiffusionStep(levels, replay=Replay(net, old(), levels, weight)), net, 0.05, torch.optim.SGD)
        engine.run(Shades(NEW, batches=100), max_epochs=1)
        ends.append(float(net.weight.detach()))
    assert ends[0] < ends[1] < ends[2] < 2.0


def test_the_term_is_the_distance_of_the_two_networks():
    """The estimates of two scales differ by c_out (a - b) c_in x, so the term is weight x mean of ((a - b) c_in x)^2."""
    net, images = Scale(0.4), Shades(batches=3)
    replay = Replay(net, images, levels, weight=2.0, seed=5)
    net.weight.data.fill_(0.7)
    engine = trainer(DiffusionStep(levels), net)
    engine.state.iteration = 5  # batch 1 of 3
    term = replay(engine, EDM().denoiser(net))
    generator = torch.Generator().manual_seed(stream(5, 5, 1))
    x0 = images[1]["image"]
    sigma = levels(len(x0), generator)
    x = x0 + expand_as(sigma, x0) * torch.randn(x0.shape, generator=generator)
    scaled = expand_as(edm(0.5)(sigma)[2], x) * x
    assert term.item() == pytest.approx(2 * (0.3**2 * scaled.square()).mean().item(), rel=1e-5)
    term.backward()
    assert net.weight.grad.item() == pytest.approx(2 * 2 * 0.3 * scaled.square().mean().item(), rel=1e-5)


def test_at_the_start_there_is_nothing_to_remind_of(parent):
    for net in (copied(parent), lora.add(parent, rank=1)):
        engine = trainer(DiffusionStep(levels, replay=Replay(net, old(), levels)), net)
        engine.state.iteration = 1
        told = engine._process_function(engine, Shades(NEW)[0])
        assert told["replay"] == pytest.approx(0, abs=1e-10) and told["loss"] > 0


def test_the_parent_stays_as_it_was_and_does_not_train(parent):
    net = copied(parent)
    replay = Replay(net, old(), levels)
    trained(net, NEW, 5, replay)
    assert all(torch.equal(a, b) for a, b in zip(replay.parent.parameters(), parent.parameters(), strict=True))
    assert not any(p.requires_grad or p.grad is not None for p in replay.parent.parameters())
    assert not torch.equal(net.first.weight, parent.first.weight)


def test_a_term_that_is_not_finite_stops_the_training(parent):
    net = copied(parent)
    engine = trainer(DiffusionStep(levels, replay=Replay(net, Shades(torch.nan), levels)), net)
    with pytest.raises(ArithmeticError, match="step 1: the loss is nan"):
        engine.run(Shades(), max_epochs=1)
    assert torch.equal(net.first.weight, parent.first.weight)


def test_old_data_are_drawn_anew_in_each_epoch():
    old = OldBatches(Shades(batches=3))
    drawn = [old.batch(step)["image"] for step in (1, 4, 7, 3, 4)]
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(drawn))
    expected = Shades(batches=3)
    for step, image in zip((1, 4, 7, 3, 4), drawn, strict=True):  # a function of the step alone, as for a resumed run
        expected.epoch = (step - 1) // 3 + 1
        assert torch.equal(image, expected[(step - 1) % 3]["image"])


def test_a_negative_weight_is_refused(parent):
    with pytest.raises(ValueError, match="must not be negative, not -1"):
        Replay(parent, old(), levels, weight=-1)


class Conditioned(Shades):
    """The same with a condition."""

    def __getitem__(self, index):
        return super().__getitem__(index) | {"vector": torch.full((self.batch_size, 2), float(index))}


class Known(nn.Module):
    """The exact denoiser of images that are all `vector`'s first entry, seen through EDM's preconditioner."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x, c_noise, *, vector):
        skip, out, scale, _ = (c.view(-1, 1, 1, 1) for c in edm(0.5)((4 * c_noise).exp()))
        return (vector[:, :1, None, None] - skip * x / scale) / out


def test_samples_come_from_the_parent_under_the_conditions_of_the_new_data():
    made = ParentSamples(Known(), edm(0.5), Conditioned(batches=5), batches=3)
    assert len(made) == 3
    for index in range(3):
        assert torch.equal(made[index]["vector"], Conditioned(batches=5)[index]["vector"])
        torch.testing.assert_close(made[index]["image"], torch.full((4, 1, 8, 8), float(index)), atol=2e-3, rtol=0)
    again, other = ParentSamples(Toy(), edm(0.5), Shades(), seed=0), ParentSamples(Toy(), edm(0.5), Shades(), seed=1)
    assert torch.equal(again[0]["image"], ParentSamples(Toy(), edm(0.5), Shades(), seed=0)[0]["image"])
    assert not torch.equal(again[0]["image"], other[0]["image"]) and again[0]["image"].dtype == torch.float32


def test_the_denoiser_of_the_replay_is_that_of_the_inferer(parent):
    """The parent is seen through the engine's own preconditioner, so that a network equals its copy under any of them."""
    net = copied(parent)
    engine = trainer(DiffusionStep(levels), net)
    engine.inferer.denoiser = lambda network: Denoiser(network, edm(0.9))
    engine.state.iteration = 1
    assert Replay(net, old(), levels)(engine, engine.inferer.denoiser(net)).item() == 0

"""The classifier's step: a known loss, labels that are not known do not count, and a problem that it learns."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.schedule import lognormal
from diffzoo.networks.classifier import NoisyClassifier
from diffzoo.tasks.anomaly.classifier_step import ClassifierStep, ClassifierValidation, noisy_logits


def batch(count=8, seed=0):
    """Half of the images have a bright square."""
    g = torch.Generator().manual_seed(seed)
    image, label = 0.3 * torch.rand((count, 1, 16, 16), generator=g), torch.arange(count) % 2
    place = torch.randint(2, 10, (count, 2), generator=g)
    for k in range(count):
        if label[k]:
            image[k, :, place[k, 0] : place[k, 0] + 4, place[k, 1] : place[k, 1] + 4] = 1.0
    return {"image": image, "label": label, "concat": torch.ones_like(image), "facts": torch.zeros(count, 3)}


def engine(network, rate=0.01):
    optimizer = torch.optim.Adam(network.parameters(), rate)
    state = SimpleNamespace(iteration=1, device=torch.device("cpu"), output=None)
    return SimpleNamespace(network=network, optimizer=optimizer, state=state)


class Undecided(nn.Module):
    """Equal logits whatever comes."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x, c_noise, *, concat=None, vector=None):
        return self.bias.expand(len(x), 2)


def test_the_loss_of_no_opinion_is_ln_2_and_unknown_labels_do_not_count():
    step, given = ClassifierStep(edm(0.4), lognormal(-1.2, 1.0)), batch()
    assert step(engine(Undecided()), given)["loss"] == pytest.approx(math.log(2), rel=1e-6)
    given["label"] = torch.tensor([1, 1, 1, -1, -1, -1, -1, -1])
    one = engine(Undecided(), rate=0.1)
    assert step(one, given)["loss"] == pytest.approx(math.log(2), rel=1e-6)
    assert one.network.bias[1] > 0 > one.network.bias[0]
    given["label"] = torch.full((8,), -1)
    assert step(engine(Undecided()), given)["loss"] == 0


def test_twins_get_the_same_noise():
    seen, given = {}, batch()
    given["image"][4:] = given["image"][:4]

    class Sees(Undecided):
        def forward(self, x, c_noise, *, concat=None, vector=None):
            seen.update(x=x, c_noise=c_noise)
            return super().forward(x, c_noise)

    ClassifierStep(edm(0.4), lognormal(-1.2, 1.0), paired=True)(engine(Sees()), given)
    assert torch.equal(*seen["x"].chunk(2)) and torch.equal(*seen["c_noise"].chunk(2))
    ClassifierStep(edm(0.4), lognormal(-1.2, 1.0))(engine(Sees()), given)
    assert not torch.equal(*seen["x"].chunk(2))


def test_inputs_are_noised_and_scaled_as_those_of_the_diffusion_network():
    given, seen = batch(), {}

    class Sees(Undecided):
        def forward(self, x, c_noise, *, concat=None, vector=None):
            seen.update(x=x, c_noise=c_noise)
            return super().forward(x, c_noise)

    sigma, noise = torch.full((8,), 0.3), torch.ones(8, 1, 16, 16)
    noisy_logits(engine(Sees()), edm(0.4), given, sigma, noise, slice(None))
    assert torch.allclose(seen["x"], (given["image"] + 0.3) / 0.5) and torch.allclose(seen["c_noise"], sigma.log() / 4)


def test_a_step_is_a_function_of_its_number_and_it_learns_a_bright_square():
    def trained(steps):
        torch.manual_seed(0)
        network = NoisyClassifier(channels=(8, 16), norm_num_groups=4, concat_channels=1, vector_size=3, shuffle=1)
        run, step = engine(network), ClassifierStep(edm(0.4), lognormal(-2.0, 0.5))
        for k in range(steps):
            run.state.iteration = k + 1
            step(run, batch(16, seed=k))
        return run

    first, again = trained(3), trained(3)
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), again.network.parameters(), strict=True))
    run = trained(40)
    told = ClassifierValidation(edm(0.4), levels=(0.05, 0.1))(run, batch(64, seed=99))
    assert told["accuracy"] > 0.9 and run.state.output == told

"""What a translating network is told, and its loss over what is wanted alone."""

import pytest
import torch

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import edm, x0
from diffzoo.tasks.translate.conditions import completion_loss, conditions, wanted_of
from diffzoo.tasks.translate.dataset import drawn_roles
from diffzoo.tasks.translate.step import regress, regression_loss, wanted_error

B, R, H = 6, 4, 8


@pytest.fixture
def told(made):
    return conditions(*made)


@pytest.fixture
def made():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(B, R, H, H, generator=generator)
    given, wanted = drawn_roles(torch.ones(B, R), generator)
    return image, given, wanted, torch.ones(B, 1, H, H), torch.linspace(0, 1, B)


def test_sources_that_are_not_given_are_cleared_and_planes_tell_those_that_are(made, told):
    image, given, wanted, _, position = made
    flags = given[:, :, None, None]
    assert torch.equal(told["concat"][:, :R], image * flags)
    assert torch.equal(told["concat"][:, R : 2 * R], flags.expand_as(image)) and told["concat"].shape[1] == 2 * R + 1
    assert torch.equal(wanted_of(told["vector"], R), wanted) and torch.equal(told["vector"][:, -1], position)


def test_the_loss_sees_what_is_wanted_alone(made, told):
    image, _, wanted, *_ = made

    def network(x, c_noise, *, concat, vector):
        return torch.where(wanted[:, :, None, None] > 0, image, 7.0)  # wrong wherever nothing is wanted

    sigma = torch.full((B,), 0.5)
    losses = completion_loss(Denoiser(Wrapped(network), x0()), image, sigma, torch.randn(B, R, H, H), **told)
    assert losses.abs().max() < 1e-12


def test_the_loss_is_a_mean_over_what_is_wanted_however_many_there_are(made, told):
    def network(x, c_noise, *, concat, vector):
        return torch.zeros_like(x)

    image, sigma = torch.full((B, R, H, H), 2.0), torch.full((B,), 0.5)
    losses = completion_loss(Denoiser(Wrapped(network), x0()), image, sigma, torch.zeros_like(image), **told)
    torch.testing.assert_close(losses, torch.full((B,), 4.0))


def test_the_state_of_what_is_given_is_never_noised(made, told):
    image, given, *_ = made
    seen = []

    def network(x, c_noise, *, concat, vector):
        seen.append(x)
        return x

    precond, sigma = edm(0.5), torch.full((B,), 3.0)
    completion_loss(Denoiser(Wrapped(network), precond), image, sigma, torch.randn(B, R, H, H), **told)
    state = seen[0] / precond(sigma)[2][:, None, None, None]
    torch.testing.assert_close(state[given > 0], image[given > 0])
    assert (state[given == 0] - image[given == 0]).abs().mean() > 1


def test_at_least_one_is_given_and_one_wanted_and_all_patterns_come():
    given, wanted = drawn_roles(torch.ones(4000, R), torch.Generator().manual_seed(1))
    assert torch.equal(given + wanted, torch.ones(4000, R))
    patterns = {tuple(row) for row in wanted.int().tolist()}
    shares = [float((wanted.sum(1) == k).float().mean()) for k in (1, 2, 3)]
    assert len(patterns) == 14 and all(share == pytest.approx(1 / 3, abs=0.03) for share in shares)


def test_what_a_person_lacks_is_neither_given_nor_wanted():
    known = torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 0]]).repeat(50, 1)
    given, wanted = drawn_roles(known, torch.Generator().manual_seed(2))
    assert torch.equal(given + wanted, known) and (given.sum(1) >= 1).all() and (wanted.sum(1) >= 1).all()


def test_a_regression_begins_from_an_empty_state(told):
    def network(x, c_noise, *, concat, vector):
        assert not x.any() and c_noise.unique().numel() == 1
        return concat[:, :R]

    assert torch.equal(regress(network, R, **told), told["concat"][:, :R])
    truth = told["concat"][:, :R] + 1.5
    torch.testing.assert_close(wanted_error(told["concat"][:, :R], truth, told["vector"], 2), torch.full((B,), 2.25))
    assert float(regression_loss(Wrapped(network), told | {"image": truth})) == pytest.approx(1.5)


class Wrapped(torch.nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **more):
        return self.function(*args, **more)

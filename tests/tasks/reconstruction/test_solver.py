"""The solver's start, rule and constraint, each seen apart with an operator whose answer is known."""

from functools import partial

import pytest
import torch

from diffzoo.diffusion.deterministic import plug_and_play
from diffzoo.diffusion.noise import Gaussian, noised
from diffzoo.diffusion.posterior import ddnm, pocs
from diffzoo.operators.base import Mask
from diffzoo.tasks.reconstruction.solver import Solver

GRID = [0.5, 0.2, 0.0]


def problem():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., ::2] = 1
    return Mask(mask), mask * torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)


def first_state(start, constraint=None):
    """What the sampler is given."""
    op, y = problem()

    def sampler(denoise, x, sigmas, *, noise, project, callback):
        return x

    solver = Solver(sampler, GRID, start=start, constraint=constraint)
    return solver(lambda x, sigma: x, op, y, Gaussian([3])), op, y


def test_start_is_the_minimum_norm_solution_or_a_noisy_one():
    x, op, y = first_state("data")
    assert torch.equal(x, op.pinv(y))
    x, op, y = first_state("noise")
    assert torch.equal(x, noised(op.pinv(y), 0.5, Gaussian([3])))


def test_a_constraint_acts_on_the_start():
    x, op, y = first_state("noise", constraint=pocs)
    assert torch.equal(op.A(x), y)
    assert x.std() > 0.1


def test_rule_and_constraint_meet_the_data_and_leave_the_rest_to_the_prior():
    op, y = problem()
    for options in ({"rule": ddnm}, {"constraint": pocs}):
        x = Solver(plug_and_play, GRID, start="noise", **options)(lambda x, sigma: torch.full_like(x, 7.0), op, y, Gaussian([0]))
        assert torch.equal(x, torch.where(op.mask == 1, y, 7.0))


def test_without_rule_and_constraint_the_data_only_start_it():
    op, y = problem()
    x = Solver(plug_and_play, GRID, start="data")(lambda x, sigma: 0.5 * x, op, y, Gaussian([0]))
    assert torch.equal(x, 0.25 * op.pinv(y))


def test_the_constraint_follows_every_step_and_the_callback_sees_it():
    op, y = problem()
    seen = []
    solver = Solver(plug_and_play, GRID, constraint=partial(pocs, lam=0.5), start="data")
    solver(lambda x, sigma: torch.zeros_like(x), op, y, Gaussian([0]), lambda i, sigma, x, x0: seen.append((i, sigma, x)))
    assert [(i, sigma) for i, sigma, _ in seen] == [(0, 0.2), (1, 0.0)]
    assert all(torch.equal(x, 0.5 * y) for _, _, x in seen)


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="'noise' or 'data', not 'zeros'"):
        Solver(plug_and_play, GRID, start="zeros")

"""Partial diffusion of an image: nothing at level 0, the exact flow of Gaussian data, the noise it is told to use."""

import math
from functools import partial

import pytest
import torch

from diffzoo.diffusion.deterministic import euler
from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.schedule import linear_alphas
from diffzoo.diffusion.simplex import Simplex
from diffzoo.diffusion.stochastic import ancestral
from diffzoo.tasks.edit import Edit, levels, table_levels

SPREAD = 0.4


def exact(x, sigma):
    """The denoiser of data N(0, SPREAD^2)."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def test_level_zero_changes_no_bit():
    x = torch.randn(3, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    edit = Edit(ancestral, levels(0, 10), Simplex)
    assert edit.steps == 0
    assert torch.equal(edit(exact, x, [1, 2, 3]), x)


@pytest.mark.parametrize("noise", [Gaussian, partial(Simplex, unit_variance=True)])
def test_the_flow_of_gaussian_data_in_closed_form(noise):
    x, top = torch.full((2, 1, 16, 16), 0.3), 0.7
    found = Edit(euler, levels(top, 400, 1e-3), noise)(exact, x, [5, 6])
    # dx / d sigma = x sigma / (s^2 + sigma^2), whatever the covariance of the noise
    truth = (x + top * noise([5, 6])(x)) * SPREAD / math.hypot(SPREAD, top)
    assert torch.allclose(found, truth, atol=4e-3)


def test_every_draw_is_of_the_given_noise():
    drawn = []

    def constant(seeds):
        drawn.append(list(seeds))
        return lambda like: torch.ones_like(like)

    x = torch.zeros(2, 1, 4, 4)
    found = Edit(ancestral, [0.5, 0.2, 0.0], constant)(lambda x, s: torch.zeros_like(x), x, [7, 8])
    assert drawn == [[7, 8]] and torch.equal(found, x)
    states = []
    Edit(ancestral, [0.5, 0.2, 0.0], constant)(exact, x, [7, 8], lambda i, s, x, x0: states.append(x))
    assert all(state.flatten().unique().numel() == 1 for state in states)  # flat noise keeps a flat image flat


def test_levels_fall_from_the_top_to_nothing():
    grid = levels(0.3, 12)
    assert len(grid) == 13 and grid[0] == pytest.approx(0.3) and grid[-2] == pytest.approx(0.02) and grid[-1] == 0
    assert grid == sorted(grid, reverse=True)
    assert levels(0.01, 3)[-2] == pytest.approx(0.005)
    with pytest.raises(ValueError, match="noise level"):
        levels(-0.1, 3)
    with pytest.raises(ValueError, match="at least one step"):
        levels(0.1, 0)


def test_the_lowest_levels_of_a_table():
    alphas = linear_alphas(1000)
    grid = table_levels(alphas, 250, 0.5)
    assert len(grid) == 251 and grid[-1] == 0 and grid == sorted(grid, reverse=True)
    bar = float(alphas[249])
    assert bar**0.5 == pytest.approx(0.724, abs=1e-3)  # sqrt(alpha_bar) of the paper's lambda = 250
    assert grid[0] == pytest.approx(0.5 * math.sqrt((1 - bar) / bar))
    assert table_levels(alphas, 0) == [] and len(table_levels(alphas, 1000)) == 1001
    for count in (-1, 1001):
        with pytest.raises(ValueError, match="lambda lies between"):
            table_levels(alphas, count)

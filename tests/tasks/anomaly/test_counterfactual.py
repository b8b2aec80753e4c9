"""Counterfactuals in closed form: pixels of a normal distribution, whose mean the label moves."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.deterministic import euler
from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.schedule import linear_alphas, log_snr, sigmas_of
from diffzoo.tasks.anomaly.counterfactual import (
    ClassifierGuidance,
    Counterfactual,
    FindCounterfactuals,
    ImplicitGuidance,
    LabelledDenoise,
    classify,
    encoding_levels,
)
from diffzoo.tasks.anomaly.scores import residual
from diffzoo.tasks.edit import levels

MEAN, MOVED, SPREAD, TOP = 0.5, -0.2, 0.3, 0.8  # of the null label; by label 0 (and away from it by 1); sd; level of encoding


class Pixels(nn.Module):
    """The exact denoiser of N(mean of the label, SPREAD^2) as a network of the preconditioner x0."""

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        sigma = c_noise.exp().reshape(-1, 1, 1, 1)
        place = 0 if vector.shape[1] < 6 else (vector[:, 4] - vector[:, 5]).sign().reshape(-1, 1, 1, 1)
        mean = MEAN + MOVED * place
        return mean + (x - mean) * SPREAD**2 / (SPREAD**2 + sigma**2)


class Slope(nn.Module):
    """A classifier whose log p(0 | x) rises by `steepness` with the mean of the image, for images far in class 1."""

    def __init__(self, steepness=-1.0):
        super().__init__()
        self.steepness = steepness

    def forward(self, x, c_noise, *, concat=None, vector=None):
        score = self.steepness * x.flatten(1).mean(1) - 60
        return torch.stack([score, torch.zeros_like(score)], 1)


X = torch.rand((2, 1, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def bound(labels=True):
    return LabelledDenoise(Denoiser(Pixels(), x0()), torch.zeros(2, 4, dtype=X.dtype), torch.ones_like(X), labels)


def edited(guidance, steps=400, labels=True, **options):
    return Counterfactual(euler, log_snr(steps, 0.001, TOP), guidance, **options)(bound(labels), X, [0, 1])


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0, -1.0])
def test_implicit_guidance_moves_every_pixel_by_w_times_what_the_ode_forgets(scale):
    """x_CF - x = w (1 - s / sqrt(s^2 + T^2)) (mean of healthy - mean of null)."""
    change = edited(ImplicitGuidance(scale, quantile=1.0)) - X
    expected = scale * (1 - SPREAD / math.hypot(SPREAD, TOP)) * MOVED
    assert torch.allclose(change, torch.full_like(X, expected), atol=5e-3)


def test_the_other_label_moves_the_other_way():
    there, back = (edited(ImplicitGuidance(2.0, quantile=1.0, target=k)) - X for k in (0, 1))
    assert torch.allclose(there, -back, atol=1e-2) and there.mean() < -0.1


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_classifier_guidance_adds_the_integral_of_its_gradient(scale):
    """A constant slope a adds scale a s (sqrt(s^2 + T^2) - s)."""
    change = edited(ClassifierGuidance(Slope(-42.0), scale), labels=False) - X
    expected = scale * -42.0 / X[0].numel() * SPREAD * (math.hypot(SPREAD, TOP) - SPREAD)
    assert torch.allclose(change, torch.full_like(X, expected), atol=1e-2)


def test_corrections_close_the_round_trip_on_a_short_grid():
    errors = [(edited(ImplicitGuidance(0.0, quantile=1.0), steps=4, corrections=k) - X).abs().max() for k in (0, 1, 20)]
    assert errors[0] > 0.1 and errors[1] < 0.7 * errors[0] and errors[2] < 1e-2 * errors[0]


def test_dynamic_normalisation_bounds_both_ways_and_leaves_moderate_slices_alone():
    plain, normal = (edited(ImplicitGuidance(2.0, q, ceiling=2.0), steps=20) for q in (1.0, 0.99))
    assert torch.equal(plain, normal)
    strong = ImplicitGuidance(-9.0, 0.99, ceiling=1.0)
    decoder, encoder = strong.decoder(bound()), strong.encoder(bound())
    assert edited(ImplicitGuidance(-9.0, 1.0), steps=20).abs().max() > 1.0
    assert decoder(X, 2.0).abs().max() <= 1.0 and encoder(5 * X, 0.1).abs().max() <= 1.0
    assert torch.equal(strong.encoder(bound())(0.5 * X, 0.3), bound().given(-1)(0.5 * X, 0.3))


def test_noise_in_place_of_encoding_forgets_the_pixels():
    made = edited(ImplicitGuidance(1.0, quantile=1.0), noise=Gaussian)
    other = Counterfactual(euler, log_snr(400, 0.001, TOP), ImplicitGuidance(1.0, quantile=1.0), noise=Gaussian)
    assert not torch.allclose(made, edited(ImplicitGuidance(1.0, quantile=1.0)), atol=0.05)
    assert torch.equal(made, other(bound(), X, [0, 1])) and not torch.equal(made, other(bound(), X, [0, 2]))


def test_calls_and_steps_are_counted():
    grid = levels(0.5, 6)
    for guidance, calls in ((ImplicitGuidance(0.0), 12), (ImplicitGuidance(1.0), 12), (ImplicitGuidance(3.0), 18)):
        edit, denoise, seen = Counterfactual(euler, grid, guidance), bound(), []
        edit(denoise, X, [0, 1], lambda *given, seen=seen: seen.append(given[1]))
        assert edit.calls == calls == denoise.denoiser.calls / 2 and len(seen) == edit.steps == 12
    assert Counterfactual(euler, grid, ImplicitGuidance(3.0), 1).calls == 24
    assert Counterfactual(euler, grid, ImplicitGuidance(3.0), noise=Gaussian).calls == 12
    empty = Counterfactual(euler, [], ImplicitGuidance(3.0))
    assert torch.equal(empty(bound(), X, [0, 1]), X) and empty.calls == empty.steps == 0


def test_the_classifier_sees_what_the_preconditioner_makes_of_the_state():
    seen = {}

    class Sees(Slope):
        def forward(self, x, c_noise, *, concat=None, vector=None):
            seen.update(x=x, c_noise=c_noise, concat=concat, vector=vector)
            return super().forward(x, c_noise)

    denoise = bound()
    sigma = torch.tensor([0.5, 0.5], dtype=X.dtype)
    found = classify(Sees(), denoise.denoiser, X, sigma, denoise.vector, denoise.concat)
    assert torch.equal(seen["x"], X) and torch.allclose(seen["c_noise"], sigma.log())
    assert torch.equal(seen["vector"], denoise.vector) and torch.equal(seen["concat"], denoise.concat)
    assert torch.allclose(found.exp().sum(1), torch.ones(2, dtype=X.dtype))
    assert torch.allclose(denoise.log_prob(Slope(), 0)(X, 0.5), found[:, 0])


def test_a_stack_is_found_slice_by_slice_whatever_the_batch():
    image = torch.rand(1, 1, 8, 9, 5, generator=torch.Generator().manual_seed(3))
    brain = torch.ones(1, 1, 8, 9, 5, dtype=torch.bool)
    given = {"vector": torch.zeros(1, 5, 4), "slice_index": torch.arange(5)[None], "brain": brain}

    def found(batch, **options):
        edit = Counterfactual(euler, levels(0.5, 3), ImplicitGuidance(2.0))
        task = FindCounterfactuals(x0(), edit, residual, slice_batch=batch, **options)
        return task(image, Pixels(), **given), task

    (whole, task), (pieces, _) = found(8), found(2)
    assert torch.allclose(whole, pieces, atol=1e-6) and whole.shape == (1, 2, 8, 9, 5)
    assert task.stats["network_calls"] == 9 and "9 network calls" in task.workload()


def test_the_published_grid_is_the_lower_part_of_the_ddim_chain():
    table = linear_alphas()
    grid = encoding_levels(table, 100, 0.75, 0.5)
    assert len(grid) == 76 and grid[-1] == 0 and all(a > b for a, b in pairwise(grid))
    time = round(74 * 999 / 99)
    assert grid[0] == pytest.approx(0.5 * float(sigmas_of(table)[time]))
    assert encoding_levels(table, 100, 0.0) == []
    with pytest.raises(ValueError, match="share"):
        encoding_levels(table, 100, 1.2)

"""Anomaly detection in latents: which sites are marked, that the others stay, and streams of noise."""

from functools import partial

import pytest
import torch
from torch import nn

from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.samplers import ancestral
from diffzoo.diffusion.schedule import linear_alphas
from diffzoo.networks.composite import LatentDiffusion
from diffzoo.tasks.anomaly.latent import (
    Divergence,
    FindInLatents,
    LatentHeal,
    LatentPrior,
    Reconstructed,
    site_weights,
    time_indices,
)
from diffzoo.tasks.anomaly.scores import residual
from diffzoo.tasks.edit import levels


class Blocks(nn.Module):
    """An autoencoder of means over 2 x 2 pixels, in units of 0.1 about 0.7."""

    latent_channels, factor = 1, 2

    def encode(self, x):
        z = (nn.functional.avg_pool2d(x, 2) - 0.7) / 0.1
        return z, torch.zeros_like(z)

    def decode(self, z, size=None):
        return nn.functional.interpolate(0.7 + 0.1 * z, scale_factor=2, mode="nearest")


class Zero(nn.Module):
    """A network that makes the denoiser 0 wherever there is tissue: latents of healthy tissue are 0."""

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        skip, out, scale, _ = (c.reshape(-1, 1, 1, 1) for c in edm(1.0)(torch.exp(4 * c_noise)))
        return -skip * (x / scale) / out + 0 * concat


def heal(threshold=0.01, steps=4, **options):
    settings = {"draws": 2, "dilation": 0, "smooth": False} | options
    return LatentHeal(ancestral, levels(3.0, steps), linear_alphas(), [300, 500], threshold, Gaussian, **settings)


def finder(edit, **options):
    return FindInLatents(edm(1.0), edit, residual, **options)


@pytest.fixture
def network():
    return LatentDiffusion(Blocks(), Zero()).eval()


@pytest.fixture
def case():
    """Five slices of a flat brain with a bright spot of a site in the third."""
    image, brain = torch.zeros(1, 1, 20, 24, 5), torch.zeros(1, 1, 20, 24, 5, dtype=torch.bool)
    brain[:, :, 4:16, 4:20] = True
    image[brain] = 0.7
    image[:, :, 8:10, 10:12, 2] = 1.3
    facts = torch.cat([torch.tensor([[1.0, 0, 0]]).expand(5, -1), torch.arange(5.0)[:, None]], 1)
    return {"inputs": image, "vector": facts[None], "slice_index": torch.arange(5)[None], "brain": brain}


def test_the_marked_site_is_drawn_anew_and_all_others_keep_their_bits(network, case):
    healthy, score = finder(heal())(network=network, **case)[0]
    spot = torch.zeros_like(case["inputs"][0, 0], dtype=torch.bool)
    spot[8:10, 10:12, 2] = True
    assert torch.equal(healthy[~spot], case["inputs"][0, 0][~spot]) and (healthy[spot] < 1.1).all()
    assert (score[spot] > 0.2).all() and not score[~spot].any()


def test_a_marked_site_takes_its_neighbours_along_and_is_then_replaced_whole(network, case):
    healthy = finder(heal(dilation=1))(network=network, **case)[0, 0]
    assert (healthy[8:10, 10:12, 2] - 0.7).abs().max() < 1e-5


def test_a_high_threshold_marks_nothing_and_gives_the_input(network, case):
    pred = finder(heal(threshold=1e9))(network=network, **case)
    assert torch.equal(pred[:, :1], case["inputs"]) and not pred[:, 1:].any()
    assert torch.equal(finder(heal(steps=4, threshold=1e9))(network=network, **case)[:, :1], case["inputs"])


def test_a_slice_depends_on_its_number_and_the_seed_alone(network, case):
    run = partial(finder, heal(threshold=0.0, dilation=1), average=2)
    whole, pieces = run(slice_batch=8)(network=network, **case), run(slice_batch=2)(network=network, **case)
    assert torch.allclose(whole, pieces, atol=1e-6)
    alone = {k: v[:, 2:3] if k == "vector" else v[..., 2:3] for k, v in case.items()}
    assert torch.allclose(run()(network=network, **alone), whole[..., 2:3], atol=1e-6)


def test_the_divergence_is_smoothed_over_sites_and_sites_without_tissue_are_never_marked():
    edit, found, t1 = heal(smooth=True), torch.zeros(1, 1, 6, 6), torch.tensor([[1.0, 0, 0]])
    found[..., 2, 3] = 9.0
    outline = torch.ones_like(found)
    outline[..., 3] = 0
    assert edit.marked(found, LatentPrior(None, None, outline, t1)).sum() == 0
    assert heal(dilation=1).marked(found, LatentPrior(None, None, torch.ones_like(found), t1)).sum() == 9


def test_each_contrast_has_its_threshold():
    found, contrast = torch.full((3, 1, 4, 4), 2.0), torch.eye(3)
    above = heal(threshold=[1.0, 3.0, 1.9]).above(found, LatentPrior(None, None, torch.ones_like(found), contrast))
    assert above.flatten(1).all(1).tolist() == [True, False, True]
    assert heal(threshold=1.0).above(found, LatentPrior(None, None, torch.ones_like(found), contrast)).all()


def test_calls_are_told_beforehand(network, case):
    edit = heal(steps=4)
    task = finder(edit)
    task(network=network, **case)
    assert edit.steps == 2 * 2 + 4 and task.stats["network_calls"] == 8
    plain = finder(Reconstructed())
    found = plain(network=network, **case)
    assert plain.stats["network_calls"] == 0 and torch.allclose(found[:, :1], case["inputs"], atol=1e-6)


def test_soft_edges_lie_inside_the_marked_sites():
    marked = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    marked[..., 1:4, 2:5] = True
    weights = site_weights(marked, (19, 24))
    assert weights.shape == (1, 1, 19, 24) and weights[..., 8:12, 12:16].min() == 1
    own = marked.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :19, :24]
    assert not weights[~own].any() and (weights[own] > 0).all() and weights[own].min() < 1


def test_the_divergence_alone_is_a_map_that_shows_the_spot(network, case):
    score = finder(Divergence(heal()))(network=network, **case)[0, 1]
    assert score[8:10, 10:12, 2].min() > 4 * score[..., :2].max() and Divergence(heal()).steps == 4
    assert time_indices("300,500") == [300, 500] and time_indices(400) == [400]

"""Tissue maps: the mixture on classes that are known, and a simulated head against its own tissues."""

import numpy as np
import pytest
import torch
from heads_toy import toy_head
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.tissue import LABELS, mixture, tissue_maps, without_bias

KINDS = (120, 420, 600)  # fluid, grey, white of the toy


def parts(shape=(48, 54, 42)):
    """The toy head in T1 without noise or skull: values, affine, brain, and its tissues [3, X, Y, Z]."""
    values, affine, brain = toy_head(shape, stripped=True, noise=0.0)
    nearest = np.abs(values[None] - np.array(KINDS).reshape(3, 1, 1, 1)).argmin(0)
    return values, affine, brain, np.stack([brain & (nearest == k) for k in range(3)])


def template(shape=(48, 54, 42)):
    """T1, grey and white matter of the toy, scaled as probabilities, a little larger and elsewhere than the brain to label."""
    values, affine, _, tissue = parts(shape)
    moved = affine.copy()
    moved[:3, :3] *= 1.06
    moved[:3, 3] = 1.06 * affine[:3, 3] + [5.0, -4.0, 3.0]
    return MetaTensor(torch.from_numpy(np.stack([values / 600, *tissue[1:]])).float(), affine=torch.from_numpy(moved))


def as_image(values, affine):
    return MetaTensor(torch.from_numpy(np.asarray(values, np.float32))[None], affine=torch.from_numpy(affine))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def labelled():
    values, affine, brain, tissue = parts()
    noisy = values + np.random.default_rng(1).normal(0, 20, values.shape) * brain
    lesion = np.zeros_like(brain)
    lesion[20:23, 30:33, 26:29] = True
    return tissue_maps(as_image(noisy, affine), brain, template(), lesion), brain, tissue, lesion


def test_tissues_of_a_head_are_found_beside_a_template_of_another_place(labelled):
    maps, brain, tissue, lesion = labelled
    best = maps.numpy().argmax(0)
    for k in range(3):
        assert dice((best == 1 + k) & ~lesion, tissue[k] & ~lesion) > (0.8, 0.88, 0.95)[k], LABELS[1 + k]
    assert (best == 0)[~brain].all()


def test_they_are_a_partition_of_unity_and_lesions_are_what_the_mask_says(labelled):
    maps, brain, _, lesion = labelled
    assert torch.allclose(maps.sum(0), torch.ones(brain.shape)) and float(maps.min()) >= -1e-6
    assert np.array_equal(maps[4].numpy() > 0.5, lesion & brain) and (maps[0].numpy()[brain] < 1e-6).all()


def test_the_affine_is_that_of_the_image(labelled):
    assert np.allclose(labelled[0].affine, parts()[1])


def test_the_mixture_finds_classes_that_priors_only_hint_at():
    rng, where = np.random.default_rng(0), np.ones((20, 20, 20), bool)
    truth = (np.indices(where.shape)[0] >= 10).ravel().astype(int)
    values = np.stack([np.where(truth, 3.0, 1.0), np.where(truth, 0.0, 1.0)]) + rng.normal(0, 0.5, (2, truth.size))
    priors = np.where(np.stack([truth == 0, truth == 1]), 0.6, 0.4)
    found = mixture(values, priors, where)
    assert np.allclose(found.sum(0), 1) and (found.argmax(0) == truth).mean() > 0.99
    assert (mixture(values, priors, where, clique=0.0).argmax(0) == truth).mean() < (found.argmax(0) == truth).mean()


def test_two_contrasts_tell_more_than_one():
    rng, where = np.random.default_rng(0), np.ones((16, 16, 16), bool)
    truth = rng.integers(0, 2, where.size)
    first, second = (np.where(truth, 1.0, 0.0) + rng.normal(0, 0.6, where.size) for _ in range(2))
    priors = np.full((2, where.size), 0.5) + np.stack([0.1 * (truth == 0), 0.1 * (truth == 1)])
    right = [(mixture(v, priors, where, 0.0).argmax(0) == truth).mean() for v in (first[None], np.stack([first, second]))]
    assert right[1] > right[0] + 0.05


def test_a_smooth_bias_field_is_taken_out():
    values, _, brain, tissue = parts()
    field = 1 + 0.5 * (np.indices(values.shape)[0] / values.shape[0] - 0.5)
    made = without_bias(values * field, brain)
    spread = [v[tissue[2]].std() / v[tissue[2]].mean() for v in (values, values * field, made)]
    assert spread[2] - spread[0] < 0.35 * (spread[1] - spread[0])
    assert np.allclose(made[~brain], (values * field)[~brain])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v, b: (v, b & (np.indices(b.shape)[0] == 20) & (np.indices(b.shape)[1] < 12)), "500 voxels or more"),
        (lambda v, b: (np.where(b, np.nan, 0), b), "finite values"),
        (lambda v, b: (v, b[:-1]), "shape of the image"),
    ],
)
def test_what_is_no_brain_is_told(change, told):
    values, affine, brain, _ = parts()
    values, brain = change(values, brain)
    with pytest.raises(InputError, match=told):
        tissue_maps(as_image(values, affine), brain, template())

"""Linear baselines in closed form: the moments of a list give the regression that its intensities obey."""

import pytest
import torch
from monai.data import MetaTensor

from diffzoo.tasks.translate.baselines import AddLinear
from diffzoo.tasks.translate.moments import load_moments, moments, nearest, of_slices, predict, regression, save_moments

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(20_000, 2, generator=GENERATOR, dtype=torch.float64)
VALUES = torch.cat([X, 0.3 + 0.5 * X[:, :1] - 0.2 * X[:, 1:]], 1)


@pytest.fixture
def table():
    return moments(VALUES, torch.ones_like(VALUES))


def test_a_regression_finds_the_law(table):
    torch.testing.assert_close(regression(table, [0, 1], 2), torch.tensor([0.3, 0.5, -0.2]).double(), atol=2e-3, rtol=0)
    weights = regression(table, [0], 2)
    torch.testing.assert_close(weights, torch.tensor([0.2, 0.5]).double(), atol=5e-3, rtol=0)  # the other at its mean


def test_pairs_that_nobody_has_together_do_not_spoil_the_others():
    known = torch.ones_like(VALUES)
    known[:10_000, 1] = 0
    found = regression(moments(VALUES, known), [0, 1], 2)
    torch.testing.assert_close(found, torch.tensor([0.3, 0.5, -0.2]).double(), atol=2e-2, rtol=0)


def test_the_nearest_image_takes_the_targets_mean_and_spread(table):
    best, scale, shift = nearest(table, [0, 1], 2)
    copied = scale * VALUES[:, best] + shift
    assert best == 0 and float(copied.mean()) == pytest.approx(float(VALUES[:, 2].mean()), abs=1e-3)
    assert float(copied.std()) == pytest.approx(float(VALUES[:, 2].std()), rel=1e-2)
    assert nearest(table, [1], 2)[1] < 0  # turned where it goes the other way


def test_a_table_survives_its_file_and_makes_images(table, tmp_path):
    path = tmp_path / "moments.safetensors"
    save_moments(table, path)
    torch.testing.assert_close(load_moments(path), table, atol=5e-4, rtol=0)
    images = {0: torch.full((4, 4, 2), 0.4), 1: torch.full((4, 4, 2), 0.5)}
    torch.testing.assert_close(predict(table, images, 2), torch.full((4, 4, 2), 0.4), atol=2e-3, rtol=0)
    item = {"image": MetaTensor(torch.stack([images[0], images[1]])), "inside": torch.ones(1, 4, 4, 2), "given": torch.ones(2)}
    found = AddLinear(str(path), ("p", "q"), ("r",))(item)
    torch.testing.assert_close(found["linear"].as_tensor()[0], torch.full((4, 4, 2), 0.4), atol=2e-3, rtol=0)
    assert found["copy"].shape == (1, 4, 4, 2) and not torch.equal(found["copy"], found["linear"])


def test_moments_of_slices_are_those_of_the_masked_voxels():
    slices = torch.rand(3, 3, 8, 8, generator=GENERATOR)
    slices[:, -1] = (slices[:, -1] > 0.5).float()
    known = torch.ones(3, 2)
    known[2, 1] = 0
    inside = slices[:, -1] > 0.5
    found = of_slices(slices, known)
    first = torch.cat([slices[k, 0][inside[k]] for k in range(3)]).double()
    second = torch.cat([slices[k, 1][inside[k]] for k in range(2)]).double()
    assert float(found[0, 1]) == pytest.approx(float(first.mean())) and float(found[0, 2]) == pytest.approx(float(second.mean()))

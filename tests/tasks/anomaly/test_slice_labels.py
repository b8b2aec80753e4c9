"""The label of a slice: what the classifier says, whatever the batch, and told in words."""

import json

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from diffzoo.diffusion.precond import x0
from diffzoo.tasks.anomaly.slice_labels import SliceLabels, disease_probability


class Brightness(nn.Module):
    """Log-odds of disease: 200 times the mean of the image, less a threshold."""

    def forward(self, x, c_noise, *, concat=None, vector=None):
        odds = 200 * (x.flatten(1).mean(1) - 0.5) + vector[:, 0]
        return torch.stack([-odds / 2, odds / 2], 1)


@pytest.fixture
def slices():
    image = torch.full((4, 1, 40, 40), 0.4)
    image[2:] = 0.6
    return image, torch.zeros(4, 3), torch.ones(4, 1, 40, 40)


def test_the_probability_is_that_of_the_mean_log_odds(slices):
    image, vector, concat = slices
    found = disease_probability(Brightness(), x0(), image, vector, concat, range(4), levels=(1e-6, 2e-6))
    assert torch.allclose(found, torch.tensor([-20.0, -20, 20, 20]).sigmoid(), atol=1e-4)
    moved = disease_probability(Brightness(), x0(), image, vector + 20, concat, range(4), levels=(1e-6,))
    assert torch.allclose(moved[:2], torch.tensor([0.5, 0.5]), atol=1e-2)


def test_a_slice_has_its_own_noise(slices):
    whole = disease_probability(Brightness(), x0(), *slices, range(4), levels=(0.05, 0.1))
    part = disease_probability(Brightness(), x0(), *(x[1:3] for x in slices), [1, 2], levels=(0.05, 0.1))
    assert torch.allclose(whole[1:3], part, atol=1e-6)
    other = disease_probability(Brightness(), x0(), *slices, range(4), levels=(0.05, 0.1), seed=1)
    assert not torch.equal(whole, other)


def test_it_is_told_in_the_report(slices):
    image, vector, concat = slices
    item = {"image": MetaTensor(image.movedim(0, -1)), "brain": concat.bool().movedim(0, -1), "vector": vector}
    item |= {"slice_index": torch.arange(4), "acquisition": json.dumps({"words": "T1"})}
    made = SliceLabels(Brightness(), x0(), levels=(0.01,))(item)
    told = json.loads(made["acquisition"])
    assert told["words"] == "T1, 2 of 4 slices called diseased" and len(told["slice_probability"]) == 4
    assert (made["slice_probability"] > 0.5).tolist() == [False, False, True, True]

"""Simulated contrasts: the order of the tissues, what stays, and the draws."""

import pytest
import torch

from diffzoo.imaging.contrasts import CURVES, T1, shown_as
from diffzoo.imaging.heads import MODALITIES, one_hot

FLUID, GREY, WHITE = T1[2:5]


def tissue(modality, generator=None):
    image = torch.tensor([0.0, FLUID, GREY, WHITE]).reshape(1, 1, 2, 2)
    return shown_as(image, one_hot(modality)[None], generator).flatten().tolist()


def test_tissues_have_the_order_of_each_contrast():
    nothing, fluid, grey, white = tissue("t2")
    assert nothing == 0 and fluid > 1.5 * grey > 1.5 * white > 0
    nothing, fluid, grey, white = tissue("flair")
    assert nothing == 0 and grey > white > 2 * fluid > 0
    assert tissue("t1") == pytest.approx([0.0, FLUID, GREY, WHITE])


@pytest.mark.parametrize("modality", MODALITIES)
def test_between_the_knots_lies_a_line(modality):
    share = torch.linspace(0, 1, 11)
    image = (GREY + share * (WHITE - GREY)).reshape(1, 1, 1, -1)
    found = shown_as(image, one_hot(modality)[None]).flatten()
    low, high = CURVES[modality][3:5]
    assert torch.allclose(found, low + share * (high - low), atol=1e-6)


def test_items_have_their_own_contrast_and_draws():
    image, vector = torch.rand(3, 1, 8, 8) * 2.5, torch.stack([one_hot(m) for m in ("t2", "flair", "t2")])
    found = shown_as(image, vector)
    assert torch.equal(found[:1], shown_as(image[:1], vector[:1])) and found.max() <= 2
    draws = [shown_as(image, vector, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.allclose(draws[0], draws[2])
    flat = shown_as(torch.full((2, 1, 4, 4), GREY), vector[:1].expand(2, -1), torch.Generator().manual_seed(0))
    assert flat[0].unique().numel() == 1 and flat[0, 0, 0, 0] != flat[1, 0, 0, 0]

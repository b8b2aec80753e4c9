"""Patches of noise: of the strength that was asked for, larger than a pixel, of both signs."""

import pytest
import torch

from diffzoo.diffusion.blobs import blobs

LIKE = torch.zeros(200, 1, 24, 28)


def draw(seed=0, **options):
    return blobs(LIKE, torch.Generator().manual_seed(seed), **options)


def test_patches_have_their_strength_and_leave_most_of_the_image_alone():
    patches = draw(strength=(2.0, 2.0))
    assert patches.abs().max() == pytest.approx(2.0, abs=1e-5)
    large = patches.abs() > 1
    assert 0.05 < large.float().mean() < 0.4 and 0.4 < (patches[large] > 0).float().mean() < 0.6
    along = (patches[..., 1:] * patches[..., :-1]).mean() / patches.square().mean()
    assert along > 0.4  # white noise: 0


def test_each_item_has_its_own_strength_in_the_range():
    peaks = draw(strength=(0.5, 3.0)).flatten(1).abs().amax(1)
    assert peaks.max() <= 3.0 and peaks.std() > 0.3 and (peaks[peaks > 0].min() >= 0.1)


def test_the_same_generator_gives_the_same_patches_and_volumes_are_taken():
    assert torch.equal(draw(), draw()) and not torch.equal(draw(), draw(seed=1))
    volume = blobs(torch.zeros(2, 1, 8, 9, 10), torch.Generator().manual_seed(0))
    assert volume.shape == (2, 1, 8, 9, 10) and volume.isfinite().all()


@pytest.mark.parametrize("wrong", [{"strength": (2.0, 1.0)}, {"knots": (1, 4)}])
def test_ranges_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="rising"):
        draw(**wrong)

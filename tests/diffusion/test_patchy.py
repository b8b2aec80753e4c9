"""Noise with patches: white where there are none, of the strength and share that were asked for."""

import pytest
import torch

from diffzoo.diffusion.noise import white
from diffzoo.diffusion.patchy import patchy

LIKE = torch.zeros(400, 1, 24, 28)


def draw(*given, seed=0, **options):
    return patchy(*given, **options)(LIKE, torch.Generator().manual_seed(seed))


def test_without_a_share_it_is_white_noise():
    assert torch.equal(draw(0.0), white(LIKE, torch.Generator().manual_seed(0)))


def test_patches_are_added_in_a_share_of_the_items_and_of_their_strength():
    patches = draw(0.5, (2.0, 2.0)) - draw(0.0)
    has = patches.flatten(1).abs().amax(1) > 0
    assert 0.4 < has.float().mean() < 0.6
    values = patches[has]
    assert values.abs().max() == pytest.approx(2.0, abs=1e-5)
    covered = (values.abs() > 1).float().mean()
    assert 0.03 < covered < 0.4 and 0.4 < (values[values.abs() > 1] > 0).float().mean() < 0.6
    along = (patches[..., 1:] * patches[..., :-1]).mean() / patches.square().mean()
    assert along > 0.7  # they are larger than a pixel


def test_the_same_generator_gives_the_same_noise_and_volumes_are_taken():
    assert torch.equal(draw(), draw()) and not torch.equal(draw(), draw(seed=1))
    volume = patchy(1.0)(torch.zeros(2, 1, 8, 9, 10), torch.Generator().manual_seed(0))
    assert volume.shape == (2, 1, 8, 9, 10) and volume.isfinite().all()


@pytest.mark.parametrize("wrong", [{"share": 1.1}, {"strength": (2.0, 1.0)}, {"knots": (1, 4)}])
def test_ranges_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="must lie|rising"):
        patchy(**wrong)

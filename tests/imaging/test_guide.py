"""What is told of high frequencies: nothing of slow shading, all of fine detail, and in training a disturbed copy."""

import pytest
import torch

from diffzoo.imaging.edges import EdgeMap
from diffzoo.imaging.guide import GAIN, Guide, RandomGuide, guide_of, low_pass


def scene(count: int = 6, size: int = 48) -> torch.Tensor:
    axis = torch.arange(size) - (size - 1) / 2
    disc = (torch.hypot(axis[:, None], axis) < size / 3).float()
    return (0.5 * disc + 0.2 * (disc * (axis > 4))).expand(count, 1, -1, -1).clone()


def test_a_gaussian_low_pass_has_the_response_of_one():
    wave = torch.cos(2 * torch.pi * 0.05 * torch.arange(200)).double().expand(1, 1, 200, 200)
    found = low_pass(wave, 3.0)[0, 0, 100, 50:150] / wave[0, 0, 100, 50:150]
    expected = torch.exp(torch.tensor(-2 * (torch.pi * 0.05 * 3.0) ** 2))
    assert float(found.median()) == pytest.approx(float(expected), rel=0.02)
    torch.testing.assert_close(low_pass(torch.ones(2, 3, 20, 20), 4.0), torch.ones(2, 3, 20, 20))
    assert low_pass(wave, 0.0) is wave


def test_high_frequencies_and_their_mean_are_the_image():
    x = scene()
    told = Guide(edges=None, width=3.0)(x)
    assert told.shape == (6, 2, 48, 48) and not told[:, 0].any()
    torch.testing.assert_close(told[:, 1:] / GAIN + low_pass(x, 3.0), x)


def test_slow_shading_is_told_little_and_a_shift_nothing():
    x = scene()
    slope = 0.1 * torch.cos(torch.pi * torch.arange(48) / 47)
    plain, shaded, shifted = (Guide()(image) for image in (x, x + slope, x + 0.05))
    told = float((shaded - plain)[:, 1].std()) / GAIN
    assert told < 0.1 * float(slope.std())
    torch.testing.assert_close(shifted[:, 1], plain[:, 1], atol=1e-5, rtol=0)


def test_a_config_picks_what_is_told():
    x = scene(1)
    torch.testing.assert_close(guide_of()(x), Guide()(x))
    torch.testing.assert_close(guide_of(threshold=3.0)(x)[:, :1], EdgeMap(threshold=3.0)(x))
    assert not guide_of(edges=False, high_pass=0.0)(x).any()
    assert not guide_of(high_pass=0.0)(x)[:, 1].any() and guide_of(high_pass=0.0)(x)[:, 0].any()


def test_the_guide_of_training_follows_the_generator_and_the_dropouts():
    x, guide = scene(400, 24), Guide()
    made = lambda seed=0, **options: RandomGuide(**options)(guide, x, torch.Generator().manual_seed(seed))  # noqa: E731
    torch.testing.assert_close(made(), made(), rtol=0, atol=0)
    assert not torch.equal(made(), made(1))
    told = made(no_edges=0.3, no_high=0.6, noise=20.0)
    empty = (told.abs().amax((2, 3)) == 0).float().mean(0)
    assert empty.tolist() == pytest.approx([0.3, 0.6], abs=0.08)
    assert len({float(one.sum()) for one in made(no_edges=0.0)[:20, 0]}) > 10  # each its own threshold and blur


def test_the_noise_of_the_guide_is_as_strong_as_told():
    x, guide = torch.full((300, 1, 32, 32), 0.5), Guide(edges=None)
    sizes = RandomGuide(noise=200.0, soften=0.0, no_high=0.0)(guide, x, torch.Generator().manual_seed(0))[:, 1].std((1, 2))
    assert float(sizes.max()) == pytest.approx(GAIN * 0.1, rel=0.1) and float(sizes.min()) < 0.02
    assert float(sizes.median()) == pytest.approx(GAIN * 0.05, rel=0.15)

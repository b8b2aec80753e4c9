"""Features: their number, what they do not see, and what they do."""

import pytest
import torch
from brains_toy import people

from diffzoo.metrics.features import detail, features, halved, smoothed
from diffzoo.metrics.frechet import compare


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 64, 64), 104), ((2, 64, 64), 208), ((1, 256, 256), 156), ((1, 64, 64, 64), 206)]
)
def test_their_number(shape, count):
    assert features(torch.rand(2, *shape)).shape == (2, count)


def test_a_batch_does_not_change_them():
    images = people(5)
    assert torch.allclose(features(images, batch=2), features(images))


def test_detail_of_a_ramp_is_half_its_slope_along_each_direction():
    ramp = torch.arange(12.0)[None, None, :, None].expand(1, 1, 12, 12)
    inner = detail(ramp)[0, 0, :, 2:-2, 2:-2]
    steps = [(0, 1), (1, -1), (1, 0), (1, 1)]
    expected = torch.tensor([abs(dy) / (dy * dy + dx * dx) ** 0.5 for dy, dx in steps])
    assert torch.allclose(inner.amax((1, 2)), expected, atol=1e-6) and torch.allclose(inner.amin((1, 2)), expected, atol=1e-6)


def test_smoothing_keeps_a_constant_and_halving_takes_every_second_pixel():
    assert torch.allclose(smoothed(torch.full((1, 1, 9, 9), 3.0)), torch.full((1, 1, 9, 9), 3.0))
    assert halved(torch.rand(1, 1, 9, 12)).shape == (1, 1, 5, 6)


def test_they_tell_blurred_or_noisy_people_from_people():
    real, fake = features(people(120)), features(people(60, seed=1))
    same = compare(real.numpy(), fake.numpy(), resamples=20)
    for changed in (smoothed(people(60, seed=1)), people(60, seed=1) + 0.05 * torch.randn(60, 1, 48, 48)):
        other = compare(real.numpy(), features(changed).numpy(), resamples=20)
        assert other["ratio"] > 2 * same["ratio"]
    assert 0.6 < same["ratio"] < 1.6


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.rand(2, 1, 7, 40), "8 pixels"),
        (torch.rand(2, 1), "1 to 3 axes"),
        (torch.full((1, 1, 9, 9), torch.nan), "NaN"),
    ],
)
def test_images_that_have_none_are_told(images, told):
    with pytest.raises(ValueError, match=told):
        features(images)

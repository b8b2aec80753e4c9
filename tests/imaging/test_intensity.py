"""The robust scale: follows the image's units, ignores air and a few hot pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.imaging.intensity import robust_scale

SETTINGS = settings(deadline=None, max_examples=40)


def tissue(seed: int, pixels: int = 2000) -> torch.Tensor:
    """Values in [0.5, 1]."""
    return 0.5 + 0.5 * torch.rand(pixels, generator=torch.Generator().manual_seed(seed))


@SETTINGS
@given(seed=st.integers(0, 1000), factor=st.floats(1e-6, 1e6))
def test_it_scales_with_the_image(seed, factor):
    x = tissue(seed)
    assert robust_scale(factor * x) == pytest.approx(factor * robust_scale(x), rel=1e-5)


@SETTINGS
@given(seed=st.integers(0, 1000), air=st.integers(0, 40000), noise=st.floats(0, 0.03))
def test_the_share_of_air_does_not_matter(seed, air, noise):
    x = tissue(seed)
    background = noise * torch.rand(air, generator=torch.Generator().manual_seed(seed + 1))
    assert robust_scale(torch.cat([x, background])) == robust_scale(x)


@SETTINGS
@given(seed=st.integers(0, 1000))
def test_order_and_shape_do_not_matter(seed):
    x = tissue(seed)
    shuffled = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))]
    assert robust_scale(shuffled.reshape(4, 5, 100)) == robust_scale(x)


@SETTINGS
@given(level=st.floats(1e-3, 1e3))
def test_a_flat_image_has_its_own_value(level):
    assert robust_scale(torch.full((10, 10), level)) == pytest.approx(level, rel=1e-6)


def test_it_is_the_99th_percentile_of_the_foreground():
    x = torch.cat([torch.zeros(5000), torch.arange(501, 1001.0)])
    assert robust_scale(x) == 995.0


def test_a_few_hot_pixels_hardly_matter():
    x = tissue(0, 20000)
    hot = x.clone()
    hot[:10] = 100
    assert robust_scale(hot) == pytest.approx(robust_scale(x), rel=0.01)


def test_a_faint_point_is_still_signal():
    x = torch.zeros(100, 100)
    x[3, 4] = 1e-6
    assert robust_scale(x) == pytest.approx(1e-6)


def test_large_volumes_are_sampled():
    x = tissue(0, 5_000_000)
    assert robust_scale(x) == pytest.approx(0.995, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_an_empty_image_is_refused(value):
    with pytest.raises(InputError, match="no signal"):
        robust_scale(torch.full((8, 8), value))


def test_values_that_overflow_are_refused():
    with pytest.raises(InputError, match="too large to compute with"):
        robust_scale(torch.full((8, 8), float("inf")))

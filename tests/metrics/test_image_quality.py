"""Image quality against scikit-image and against what can be worked out by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffzoo.metrics.image_quality import slice_metrics, spread_metrics


def pair(seed: int, noise: float = 0.05, slices: int = 3):
    rng = np.random.default_rng(seed)
    reference = rng.random((20, 24, slices)) + 0.1
    return reference + noise * rng.standard_normal(reference.shape), reference


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), noise=st.floats(1e-4, 0.5))
def test_each_slice_agrees_with_scikit_image(seed, noise):
    image, reference = pair(seed, noise)
    found, peak = slice_metrics(image, reference), reference.max()
    for k in range(3):
        x, r = image[..., k], reference[..., k]
        assert found["psnr"][k] == pytest.approx(peak_signal_noise_ratio(r, x, data_range=peak), abs=1e-9)
        assert found["ssim"][k] == pytest.approx(structural_similarity(x, r, data_range=peak), abs=1e-9)
        assert found["nmse"][k] == pytest.approx(np.linalg.norm(x - r) ** 2 / np.linalg.norm(r) ** 2, abs=1e-9)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), factor=st.floats(1e-4, 1e4))
def test_units_do_not_matter(seed, factor):
    image, reference = pair(seed)
    once, scaled = slice_metrics(image, reference), slice_metrics(factor * image, factor * reference)
    for name in once:
        assert scaled[name] == pytest.approx(once[name], rel=1e-6)


def test_a_constant_error_in_closed_form():
    reference = np.full((16, 16, 1), 2.0)
    found = slice_metrics(reference + 0.02, reference)
    assert found["psnr"] == [pytest.approx(40.0)]
    assert found["nmse"] == [pytest.approx(1e-4)]
    means = (2 * 2.0 * 2.02 + (0.01 * 2) ** 2) / (2.0**2 + 2.02**2 + (0.01 * 2) ** 2)  # Wang et al. 2004, no variance
    assert found["ssim"] == [pytest.approx(means)]


def test_the_image_itself_is_perfect_and_finite():
    _, reference = pair(0)
    found = slice_metrics(reference, reference)
    assert found["psnr"] == [pytest.approx(200.0)] * 3 and found["ssim"] == [pytest.approx(1.0)] * 3
    assert found["nmse"] == [0.0] * 3


def test_the_peak_is_the_volumes_and_slices_of_air_are_left_out():
    image, reference = pair(1)
    reference[..., 1] *= 0.03
    reference[..., 2] *= 0.5
    found = slice_metrics(image, reference)
    assert [len(values) for values in found.values()] == [2, 2, 2]
    expected = peak_signal_noise_ratio(reference[..., 2], image[..., 2], data_range=reference.max())
    assert found["psnr"][1] == pytest.approx(expected)


def test_the_spread_follows_the_error():
    image, reference = pair(2)
    error = np.abs(image - reference)
    assert spread_metrics(error, image, reference)["spearman"] == pytest.approx(1.0)
    assert spread_metrics(error**3, image, reference)["spearman"] == pytest.approx(1.0)  # ranks, not values
    assert spread_metrics(-error, image, reference)["spearman"] == pytest.approx(-1.0)
    unrelated = np.random.default_rng(9).random(error.shape)
    assert abs(spread_metrics(unrelated, image, reference)["spearman"]) < 0.15


def test_only_tissue_counts_for_the_spread():
    image, reference = pair(3)
    error = np.abs(image - reference)
    reference[:10] *= 1e-3  # half of each slice is air
    error[:10] = 0
    std = np.where(reference > 0.1 * reference.max(), 2 * error, 1e3)
    found = spread_metrics(std, np.where(reference > 0.01, image, reference), reference)
    assert found["spearman"] == pytest.approx(1.0)
    inside = reference > 0.1 * reference.max()
    assert found["mean_std"] == pytest.approx(std[inside].mean() / reference.max())


def test_too_little_tissue_has_no_correlation():
    reference = np.zeros((20, 20, 2))
    reference[3:8, 3:8] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spread_metrics(reference * 0.1, reference, reference)
    assert np.isnan(found["spearman"]) and found["mean_std"] == pytest.approx(0.1)

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
    for name in ("psnr", "ssim", "nmse"):
        assert scaled[name] == pytest.approx(once[name], rel=1e-6)
    assert scaled["rmse"] == pytest.approx([factor * value for value in once["rmse"]], rel=1e-6)


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
    assert [len(values) for values in found.values()] == [2, 2, 2, 2]
    expected = peak_signal_noise_ratio(reference[..., 2], image[..., 2], data_range=reference.max())
    assert found["psnr"][1] == pytest.approx(expected)


def test_chosen_slices_are_judged_by_the_peak_of_the_whole():
    image, reference = pair(1)
    reference[..., 2] *= 2
    whole, some = slice_metrics(image, reference), slice_metrics(image[..., :1], reference[..., :1], peak=reference.max())
    assert some["psnr"] == whole["psnr"][:1] and some["ssim"] == whole["ssim"][:1]
    assert slice_metrics(image[..., :1], reference[..., :1])["psnr"][0] < some["psnr"][0]


def textured(seed: int, size: int = 60):
    """A std that varies smoothly, and an error drawn from it, [size, size, 1]."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(0, 4, size)] * 2)
    std = (0.1 + 0.08 * np.sin(2 * x) * np.cos(1.5 * y))[..., None]
    return std, std * rng.standard_normal(std.shape)


def test_the_spread_follows_the_size_of_the_error_nearby():
    std, error = textured(0)
    reference = np.ones_like(std)
    told = spread_metrics(std, reference + error, reference)
    assert told["spearman"] > 0.8 > abs(spread_metrics(std[::-1].transpose(1, 0, 2), reference + error, reference)["spearman"])
    assert told["covered_0.8"] == pytest.approx(0.8, abs=0.03) and told["factor"] == pytest.approx(1, abs=0.06)
    assert spread_metrics(2 * std, reference + error, reference)["factor"] == pytest.approx(told["factor"] / 2)
    assert told["mean_std"] == pytest.approx(std.mean())


def test_only_tissue_counts_for_the_spread():
    std, error = textured(1)
    reference = np.full_like(std, 2.0)
    reference[:20] = 0.01  # air
    wrong = std.copy()
    wrong[:20] = 1e3
    assert spread_metrics(wrong, reference + error, reference) == spread_metrics(std, reference + error, reference)


def test_too_little_tissue_has_no_correlation():
    reference = np.zeros((20, 20, 2))
    reference[3:8, 3:8] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spread_metrics(reference * 0.1, reference, reference)
    assert np.isnan(found["spearman"]) and found["mean_std"] == pytest.approx(0.1)

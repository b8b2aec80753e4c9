"""Power of frequencies in closed form: a wave lies in its ring, and a blur takes the detail that its transfer function says."""

import numpy as np
import pytest
from scipy import ndimage

from diffzoo.metrics.spectrum import detail, radial_power


def test_a_wave_lies_in_the_ring_of_its_frequency():
    x = np.arange(128)
    wave = np.cos(2 * np.pi * 0.25 * x)[None, :, None] * np.ones((1, 1, 128))  # half of Nyquist
    power = radial_power(wave, 32)
    assert 14 <= int(np.argmax(power)) <= 17 and power[np.argmax(power)] > 100 * power[[4, 28]].max()


def test_detail_of_the_truth_is_one_and_scales_with_amplitude():
    truth = np.random.default_rng(0).normal(size=(64, 64, 3))
    assert detail(truth, truth) == pytest.approx(1) and detail(0.5 * truth, truth) == pytest.approx(0.5)


def test_a_blur_loses_the_detail_that_its_transfer_function_tells():
    truth = np.random.default_rng(0).normal(size=(256, 256, 4))
    sigma = 0.8
    blurred = ndimage.gaussian_filter(truth, (sigma, sigma, 0))
    frequencies = (np.arange(int(0.35 * 32), int(np.ceil(0.7 * 32))) + 0.5) / 32 * 0.5
    wanted = np.exp(np.mean(-2 * (np.pi * sigma * frequencies) ** 2))
    assert detail(blurred, truth) == pytest.approx(wanted, rel=0.05)


def test_a_truth_without_signal_has_no_detail():
    assert np.isnan(detail(np.ones((16, 16, 1)), np.zeros((16, 16, 1))))

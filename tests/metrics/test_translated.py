"""Quality of a translated volume: over the mask alone, and by a peak that does not hang on the slices that are judged."""

import numpy as np
import pytest

from diffzoo.metrics.translated import translated_metrics

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(0.5, 2.0, (32, 40, 6))
INSIDE = np.zeros(TRUTH.shape, bool)
INSIDE[8:24, 10:30] = True


def test_a_shift_has_the_error_that_it_is():
    found = translated_metrics(TRUTH + 0.1, TRUTH, INSIDE)
    peak = TRUTH[INSIDE].max()
    assert found["psnr"] == pytest.approx(20 * np.log10(peak / 0.1)) and found["mae"] == pytest.approx(0.1)


def test_what_lies_outside_does_not_count():
    wrong = np.where(INSIDE, TRUTH, 9.0)
    assert translated_metrics(wrong, TRUTH, INSIDE)["mae"] == 0
    assert translated_metrics(TRUTH, TRUTH, INSIDE)["ssim"] == pytest.approx(1) and translated_metrics(TRUTH, TRUTH, INSIDE)[
        "detail"
    ] == pytest.approx(1)


def test_the_peak_can_be_a_window():
    one, two = (translated_metrics(TRUTH + 0.1, TRUTH, INSIDE, peak)["psnr"] for peak in (1.0, 2.0))
    assert two - one == pytest.approx(20 * np.log10(2))


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="the mask is empty"):
        translated_metrics(TRUTH, TRUTH, INSIDE & False)

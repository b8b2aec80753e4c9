"""The model's units of intensity: landmarks, inverse, and what has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.imaging.head_units import BEND, LEVELS, to_model, to_scan, units_of


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(LEVELS)), st.floats(1e-3, 1e4), st.floats(0.75, 1.25), st.integers(0, 99))
def test_landmarks_go_to_their_levels_and_back(modality, gain, bend, seed):
    middle, level = LEVELS[modality]
    tissue = np.random.default_rng(seed).normal(middle, 0.16, 4001).clip(0)
    tissue *= level / np.percentile(tissue, 75)
    values = gain * tissue**bend
    units = units_of(values, modality)
    found = to_model(values, units)
    assert np.percentile(found, 75) == pytest.approx(level)
    if BEND[0] < units[1] < BEND[1]:
        assert np.median(found) == pytest.approx(middle)
    assert np.allclose(to_scan(found, units), values, rtol=1e-6)


def test_the_bend_is_bounded_and_nothing_is_refused():
    flat = np.full(100, 3.0)
    assert units_of(flat, "t1")[1] == BEND[1]
    assert np.isfinite(to_model(np.array([-1.0, 0.0, 5.0]), units_of(flat, "t1"))).all()
    assert to_model(np.array([-1.0, 0.0]), units_of(flat, "t2")).tolist() == [0, 0]
    with pytest.raises(InputError, match="no signal"):
        units_of(np.zeros(10), "flair")

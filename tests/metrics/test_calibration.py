"""Intervals of a Gaussian error cover what they say, and one factor sets a std right that is off."""

import numpy as np
import pytest

from diffzoo.metrics.calibration import coverage, factor, ranks

RNG = np.random.default_rng(0)
STD = RNG.uniform(0.5, 2, 200_000)
ERROR = STD * RNG.normal(size=STD.shape)


def test_a_true_std_covers_each_level():
    assert coverage(ERROR, STD) == pytest.approx({"0.5": 0.5, "0.8": 0.8, "0.95": 0.95}, abs=0.005)
    assert factor(ERROR, STD) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("off", [0.4, 2.5])
def test_the_factor_sets_a_std_right(off):
    found = factor(ERROR, off * STD)
    assert found == pytest.approx(1 / off, rel=0.01) and coverage(ERROR, found * off * STD)["0.8"] == pytest.approx(0.8, abs=1e-4)


def test_ranks_are_high_where_the_std_tells_the_size_of_the_error():
    assert ranks(STD, STD) == pytest.approx(1) and abs(ranks(ERROR, np.random.default_rng(1).permutation(STD))) < 0.01
    assert 0.2 < ranks(ERROR, STD) < 0.6 and np.isnan(ranks(ERROR[:50], STD[:50]))


def test_voxels_without_a_std_are_left_out():
    assert np.isnan(factor(ERROR, 0 * STD)) and np.isnan(coverage(ERROR, 0 * STD)["0.8"])

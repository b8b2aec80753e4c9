"""The Frechet distance against its closed forms, and what `compare` makes of sets whose distance is known."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from diffzoo.errors import InputError
from diffzoo.metrics.frechet import compare, coverage, extrapolated, frechet

RNG = np.random.default_rng(0)


def normal(n, mean=0.0, std=1.0, width=6, seed=0):
    return mean + std * np.random.default_rng(seed).standard_normal((n, width))


def test_of_one_feature_it_is_that_of_means_and_deviations():
    a, b = normal(50, 1.0, 2.0, 1), normal(70, -0.5, 0.7, 1, seed=1)
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet(a, b) == pytest.approx(expected)


def test_of_itself_it_is_zero_and_of_a_shifted_copy_the_shift():
    a, shift = normal(40), np.arange(6.0)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + shift) == pytest.approx(shift @ shift)


def test_it_does_not_care_for_order_or_rotation_and_agrees_with_the_matrix_root():
    a, b = normal(60) @ RNG.standard_normal((6, 6)), normal(50, 0.3, seed=2) @ RNG.standard_normal((6, 6))
    turn = np.linalg.qr(RNG.standard_normal((6, 6)))[0]
    value = frechet(a, b)
    assert frechet(b, a) == pytest.approx(value) and frechet(a @ turn, b @ turn) == pytest.approx(value)
    first, second = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert value == pytest.approx(expected)


def test_it_stands_fewer_items_than_features():
    a, b = normal(4, width=20), normal(5, 1.0, width=20, seed=1)
    assert np.isfinite(frechet(a, b)) and frechet(a, b) > 0


def test_whole_shrinkage_leaves_the_variances():
    a, b = normal(40) @ RNG.standard_normal((6, 6)), normal(40, seed=1)
    expected = ((a.mean(0) - b.mean(0)) ** 2 + (a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2).sum()
    assert frechet(a, b, shrinkage=1.0) == pytest.approx(expected)


def test_few_items_make_it_larger_and_the_extrapolated_one_undoes_that():
    a, b = normal(60, width=10), normal(60, width=10, seed=1)
    assert frechet(a, b) > 0.5 and abs(extrapolated(a, b)) < 0.4 * frechet(a, b)


def test_a_generator_of_the_same_source_is_as_far_as_reals_are_and_another_is_farther():
    real, null = normal(200), normal(100, 4.0, seed=3)
    same = compare(real, normal(100, seed=1), null)
    other = compare(real, normal(100, 1.0, seed=2), null)
    assert 0.5 < same["ratio"] < 2 and same["interval"][0] < same["fake"] < same["interval"][1]
    assert other["ratio"] > 5 and other["interval"][0] > same["interval"][1]
    assert same["n"] == 100 and same["null"] > other["fake"] > same["real"]
    assert same["null"] == pytest.approx(6 * 16, rel=0.2)


def test_images_of_one_person_stay_in_one_half():
    """Ten people far apart: with halves that share people, reals would look alike."""
    centres = np.repeat(10 * np.random.default_rng(4).standard_normal((10, 6)), 20, 0)
    real = centres + normal(200)
    fake = real[::2] + 0.1
    assert compare(real, fake, groups=np.arange(200) // 20)["real"] > 5 * compare(real, fake)["real"]


def test_coverage_tells_a_few_good_fakes_from_many_bad_ones():
    real = normal(100, width=2)
    one = coverage(real, np.repeat(real[:1], 50, 0) + 0.01 * normal(50, width=2, seed=1))
    wide = coverage(real, normal(100, std=20.0, width=2, seed=2))
    assert one["precision"] > 0.95 and one["recall"] < 0.2
    assert wide["precision"] < 0.3 and wide["recall"] > 0.9


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (normal(1), normal(5), "too small"),
        (normal(5), normal(5, width=4), "sets of features"),
        (normal(5), np.full((5, 6), np.nan), "NaN"),
    ],
)
def test_sets_that_do_not_compare_are_told(a, b, told):
    with pytest.raises(InputError, match=told):
        frechet(a, b)


@pytest.mark.parametrize(
    ("real", "fake", "groups", "told"),
    [(normal(12), normal(20), None, "too few"), (normal(30), normal(20), [0] * 30, "two")],
)
def test_a_comparison_of_too_few_is_told(real, fake, groups, told):
    with pytest.raises(InputError, match=told):
        compare(real, fake, groups=groups)

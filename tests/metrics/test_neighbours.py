"""Neighbours, thresholds and intervals by hand and against published values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.metrics.neighbours import Nearest, copies, copying, nearest, same_patient, thresholds, wilson


def test_the_second_neighbour_is_of_another_person():
    apart = np.array([[1.0, 2.0, 4.0], [3.0, 3.5, 2.0]])
    found = nearest(apart, ["a", "a", "b"])
    assert found.distance.tolist() == [1, 2] and found.index.tolist() == [0, 2]
    assert found.ratio.tolist() == [1 / 4, 2 / 3]
    assert nearest(apart).ratio.tolist() == [1 / 2, 2 / 3]
    assert nearest(apart, ["a"] * 3).ratio.tolist() == [1, 1]


def test_pairs_of_one_patient():
    points = np.array([0.0, 1.0, 10.0, 13.0, 40.0])
    between = lambda i, j: abs(points[i][:, None] - points[j][None])  # noqa: E731
    assert sorted(same_patient(between, ["a", "a", "b", "b", "c"])) == [1, 3]
    assert len(same_patient(between, range(5))) == 0


def test_thresholds_are_quantiles_of_what_is_known_to_be_no_copy():
    held = Nearest(np.exp(np.linspace(0, 1, 101)), np.zeros(101, int), np.linspace(0.5, 1, 101))
    found = thresholds(held, np.linspace(0, 1, 101))
    assert found["same_patient"] == pytest.approx(0.01) and found["copy"] == pytest.approx(0.01)
    assert found["fence"] == pytest.approx(np.exp(0.25 - 1.5 * 0.5)) and found["ratio"] == pytest.approx(0.525)
    assert thresholds(held, np.zeros(0))["copy"] == found["fence"]
    told = Nearest(np.array([0.005, 0.005, 0.5]), np.zeros(3, int), np.array([0.1, 0.9, 0.1]))
    assert copies(told, found).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("hits", "total", "interval"),
    [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0)), (0, 0, (0.0, 1.0)), (81, 263, (0.2553, 0.3662))],
)
def test_wilson_is_that_of_newcombe(hits, total, interval):
    assert wilson(hits, total) == pytest.approx(interval, abs=1e-4)


@given(st.integers(0, 50), st.integers(1, 50))
def test_an_interval_holds_its_share(hits, more):
    low, high = wilson(hits, hits + more)
    assert 0 <= low <= hits / (hits + more) <= high <= 1


def test_copying_is_zero_for_one_source_and_far_below_for_nearer_samples():
    rng = np.random.default_rng(0)
    held = rng.random(200)
    assert abs(copying(rng.random(200), held)) < 2
    assert copying(0.5 * rng.random(200), held) < -5
    assert copying(held, held) == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: nearest(np.zeros((3, 0))), "nothing to search"),
        (lambda: thresholds(Nearest(np.ones(3), np.zeros(3, int), np.ones(3)), np.zeros(0)), "too few"),
        (lambda: wilson(3, 2), "no share"),
        (lambda: copying(np.zeros(0), np.ones(3)), "needs samples"),
    ],
)
def test_what_cannot_be_told_is_an_error(call, told):
    with pytest.raises(InputError, match=told):
        call()

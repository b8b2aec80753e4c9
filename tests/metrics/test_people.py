"""Intervals over people cover what they say, also where pairs share people."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from diffzoo.metrics.people import interval, person_means, summary


def test_one_value_a_person_gives_the_t_interval():
    values = dict(enumerate(np.random.default_rng(0).normal(30, 2, 9)))
    known = ttest_1samp(list(values.values()), 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((known.low, known.high))


@pytest.mark.parametrize("people", [5, 8, 20])
def test_a_mean_over_people_is_covered_as_often_as_is_said(people):
    rng = np.random.default_rng(people)
    inside = [low <= 0 <= high for low, high in (interval(dict(enumerate(rng.normal(size=people)))) for _ in range(600))]
    assert 0.92 <= np.mean(inside) <= 0.98


def pairs(rng, people, shared):
    """A value of each ordered pair: what either person does to it in its role, and chance."""
    first, second = rng.normal(size=(2, people)) * shared
    return {(i, j): first[i] + second[j] + 0.3 * rng.normal() for i, j in permutations(range(people), 2)}


def test_pairs_that_share_people_are_covered_too_and_would_not_be_as_independent_values():
    rng, hits, naive = np.random.default_rng(0), [], []
    for _ in range(300):
        values = pairs(rng, 12, shared=1.0)
        low, high = interval(values)
        hits.append(low <= 0 <= high)
        own = np.array(list(values.values()))
        naive.append(abs(own.mean()) <= 1.96 * own.std(ddof=1) / len(own) ** 0.5)
    assert np.mean(hits) >= 0.92 and np.mean(naive) < 0.7


def test_few_people_have_values_and_no_interval():
    assert interval({k: float(k) for k in range(4)}) is None
    assert summary([1.0, 3.0, 5.0], ["a", "a", "b"]) == {"mean": 3.5, "interval": None, "people": 2}
    assert summary([1.0] * 6, [("a", "b"), ("b", "a"), ("c", "a"), ("d", "c"), ("d", "e"), ("e", "d")])["interval"] == [1.0, 1.0]


def test_slices_of_a_person_are_one_value_and_what_is_missing_is_left_out():
    assert person_means([1.0, 2.0, float("nan"), 6.0, None], ["a", "a", "a", "b", "c"]) == {"a": 1.5, "b": 6.0}
    assert summary([float("nan")], ["a"]) == {"mean": None, "interval": None, "people": 0}


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(dict.fromkeys(range(6), 1.0), level=1.0)

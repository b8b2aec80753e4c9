"""Detection metrics against closed forms, brute force and scikit-learn where it is there."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.metrics.detection import (
    auroc,
    average_precision,
    best_dice,
    dice_at,
    false_positive_rate,
    threshold_at_fpr,
)


@st.composite
def tied(draw):
    """Scores of few distinct values and labels with both classes."""
    n = draw(st.integers(2, 60))
    labels = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    labels[0], labels[-1] = True, False
    return np.array(draw(st.lists(st.integers(-3, 4), min_size=n, max_size=n)), np.float32), labels


def test_by_hand():
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 0, 0])
    assert average_precision(scores, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert auroc(scores, labels) == pytest.approx(5 / 6)
    assert best_dice(scores, labels) == (pytest.approx(0.8), 0.7)
    assert dice_at(scores, labels, 0.85) == pytest.approx(2 / 3)
    assert dice_at(scores, labels, 0.9) == pytest.approx(2 / 3)  # a voxel at the threshold is abnormal
    assert dice_at(scores, labels, 2.0) == 0


def test_ties_cross_together():
    scores, labels = np.zeros(10), np.arange(10) < 3
    assert average_precision(scores, labels) == pytest.approx(0.3)  # the share of lesion voxels, in whatever order they come
    assert auroc(scores, labels) == 0.5
    assert best_dice(scores, labels) == (pytest.approx(6 / 13), 0.0)


@settings(deadline=None, max_examples=60)
@given(tied())
def test_every_metric_is_its_definition(case):
    scores, labels = case
    lesion, healthy = scores[labels], scores[~labels]
    pairs = lesion[:, None] - healthy
    assert auroc(scores, labels) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    area, recall, dices = 0.0, 0.0, {}
    for t in sorted(set(scores.tolist()), reverse=True):
        called = scores >= t
        area += (labels[called].sum() / labels.sum() - recall) * labels[called].mean()
        recall = labels[called].sum() / labels.sum()
        dices[t] = 2 * labels[called].sum() / (called.sum() + labels.sum())
        assert dice_at(scores, labels, t) == pytest.approx(dices[t], abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(area, abs=1e-12)
    dice, threshold = best_dice(scores, labels)
    assert dice == pytest.approx(max(dices.values()), abs=1e-12)
    assert dices[threshold] == pytest.approx(dice, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(tied())
def test_scikit_learn_agrees(case):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = case
    assert average_precision(scores, labels) == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    assert auroc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    for t in (-1.0, 0.5, 3.0):
        assert dice_at(scores, labels, t) == pytest.approx(metrics.f1_score(labels, scores >= t, zero_division=0), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(tied(), st.permutations(range(8)))
def test_rising_maps_and_order_do_not_matter(case, order):
    scores, labels = case
    # -3 ... 4 -> an increasing table; its inverse order would change everything
    mapped = np.cumsum(np.array(order) + 1.0)[(scores + 3).astype(int)]
    shuffle = np.random.default_rng(0).permutation(len(scores))
    for metric in (average_precision, auroc, lambda s, y: best_dice(s, y)[0]):
        assert metric(mapped, labels) == pytest.approx(metric(scores, labels), abs=1e-12)
        assert metric(scores[shuffle], labels[shuffle]) == pytest.approx(metric(scores, labels), abs=1e-12)
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


def test_normal_scores_in_closed_form():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(1.0, 1, 40000), rng.normal(0.0, 1, 160000)]).reshape(400, 500)
    labels = (np.arange(200000) < 40000).reshape(400, 500)
    assert auroc(scores, labels) == pytest.approx(0.76025, abs=0.005)  # Phi(1 / sqrt 2)
    assert average_precision(scores, labels) > 0.2 * 2
    assert average_precision(rng.random(200000), labels.ravel()) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_kinds_of_arrays(dtype):
    scores, labels = np.array([[0, 1], [2, 3]], dtype), np.array([[0, 0], [1, 1]], np.int16)
    kept = scores.copy(), labels.copy()
    for kind in (labels, labels.astype(bool), labels.astype(float)):
        assert (average_precision(scores, kind), auroc(scores, kind), best_dice(scores, kind)) == (1, 1, (1, 2))
    assert np.array_equal(scores, kept[0]) and np.array_equal(labels, kept[1])


def test_what_is_not_defined_is_nan():
    scores = np.arange(4.0)
    none, every = np.zeros(4, bool), np.ones(4, bool)
    assert all(np.isnan(v) for v in (average_precision(scores, none), auroc(scores, none), dice_at(scores, none, 1.0)))
    assert np.isnan(best_dice(scores, none)).all() and np.isnan(auroc(scores, every))
    assert average_precision(scores, every) == 1 and best_dice(scores, every) == (1, 0)


def test_bad_input_is_refused():
    for metric in (average_precision, auroc, best_dice, lambda s, y: dice_at(s, y, 0.5)):
        with pytest.raises(InputError, match="differ in shape"):
            metric(np.zeros(4), np.zeros((2, 2)))
        with pytest.raises(InputError, match=r"0 \(healthy\) and 1"):
            metric(np.zeros(2), np.array([0, 2]))
        with pytest.raises(InputError, match=r"0 \(healthy\) and 1"):
            metric(np.zeros(2), np.array([0.0, np.nan]))
        with pytest.raises(InputError, match="NaN"):
            metric(np.array([np.nan, 0]), np.array([0, 1]))
    with pytest.raises(InputError, match="NaN"):
        false_positive_rate(np.array([np.nan]), 0.5)
    for call in (lambda: false_positive_rate(np.zeros(0), 0.5), lambda: threshold_at_fpr(np.zeros(0), 0.5)):
        with pytest.raises(InputError, match="no healthy voxel"):
            call()
    for fpr in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="false-positive rate"):
            threshold_at_fpr(np.zeros(3), fpr)


# --- thresholds on healthy scans


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.floats(0, 1), st.sampled_from([np.float16, np.float32, np.float64])
)
def test_the_threshold_is_the_smallest_within_the_rate(values, fpr, dtype):
    scores = np.array(values, dtype) / dtype(3)
    threshold = threshold_at_fpr(scores, fpr)
    assert false_positive_rate(scores, threshold) <= fpr + 1e-9
    below = scores[scores < dtype(threshold)]
    if below.size:  # the next lower score would call too many
        assert false_positive_rate(scores, below.max()) > fpr


def test_rates_in_closed_form():
    scores = np.random.default_rng(0).permutation(1000).astype(np.float32).reshape(10, 100)
    for fpr in (0.0, 0.001, 0.05, 0.29, 0.5, 1.0):
        assert false_positive_rate(scores, threshold_at_fpr(scores, fpr)) == fpr
    assert false_positive_rate(scores, 990.0) == 0.01
    assert false_positive_rate(scores, 1e9) == 0 and false_positive_rate(scores, -1.0) == 1


def test_millions_of_voxels_are_fast():
    rng = np.random.default_rng(0)
    scores = rng.random(3_000_000, dtype=np.float32)
    labels = scores + rng.random(scores.size, dtype=np.float32) > 1.8
    start = time.process_time()
    assert average_precision(scores, labels) > labels.mean() and auroc(scores, labels) > 0.8
    assert best_dice(scores, labels)[0] > dice_at(scores, labels, 0.1)
    assert time.process_time() - start < 6  # about 1 s; the wide margin is for a busy machine

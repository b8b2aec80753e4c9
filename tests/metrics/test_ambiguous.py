"""Metrics of sets of masks against sets of readers: by hand, and at their limits."""

import pytest
import torch

from diffzoo.metrics import ambiguous
from diffzoo.metrics.ambiguous import figures, frequency_distance, ged


def mask(*pixels):
    """A mask [2, 2] with those pixels set."""
    out = torch.zeros(2, 2, dtype=torch.bool)
    for row, column in pixels:
        out[row, column] = True
    return out


A, B, NONE = mask((0, 0)), mask((0, 0), (0, 1)), mask()


def test_equal_sets_are_perfect():
    readers = torch.stack([A, B, NONE])
    values = figures(readers, readers)
    assert values["ged"] == pytest.approx(0, abs=1e-12)
    assert [values[k] for k in ("ci", "sensitivity", "dice_max", "agreement")] == [1.0] * 4


def test_two_by_two_by_hand():
    # d(A, B) = 1/2; masks {A, A}, readers {A, B}: 2 * 1/4 - 0 - 1/4 = 1/4
    masks, readers = torch.stack([A, A]), torch.stack([A, B])
    values = figures(masks, readers)
    assert values["ged"] == pytest.approx(0.25)
    assert values["sensitivity"] == 0.5
    assert values["dice_max"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["agreement"] == pytest.approx(1 - (0.5 + 0.5) / 2)  # the readers differ in one of the two pixels of the union
    s, d, a = 0.5, 5 / 6, 0.5
    assert values["ci"] == pytest.approx(3 * s * d * a / (s + d + a))
    assert values["dice"] == pytest.approx(5 / 6)
    assert values["spread"] == 0


def test_all_empty_sets_agree_and_a_false_mask_does_not():
    empty = torch.stack([NONE, NONE])
    assert figures(empty, empty) == {
        "ged": 0,
        "ci": 1,
        "sensitivity": 1,
        "dice_max": 1,
        "agreement": 1,
        "dice": 1,
        "spread": 0,
    }
    wrong = figures(torch.stack([A, A]), empty)
    assert (wrong["ged"], wrong["sensitivity"], wrong["dice_max"], wrong["ci"]) == (2, 0, 0, 0)
    missed = figures(empty, torch.stack([A, A]))
    assert (missed["ged"], missed["sensitivity"], missed["dice"], missed["ci"]) == (2, 0, 0, 0)


def test_the_right_spread_beats_the_best_single_mask():
    readers = torch.stack([A, A, NONE, NONE])
    spread, single = torch.stack([NONE, A, NONE, A]), torch.stack([A, A, A, A])
    assert ged(spread, readers) == pytest.approx(0, abs=1e-12)
    assert ged(single, readers) == pytest.approx(2 * 0.5 - 0.5)
    assert figures(spread, readers)["agreement"] == 1 > figures(single, readers)["agreement"]


def test_frequencies_count_the_nearest_mode():
    modes = torch.stack([A, B, NONE])
    off, met = frequency_distance(torch.stack([A, A, B, NONE]), modes, (0.5, 0.25, 0.25))
    assert off == pytest.approx(0) and met.tolist() == [0.5, 0.25, 0.25]
    off, _ = frequency_distance(torch.stack([A] * 4), modes, (0.4, 0.3, 0.3))
    assert off == pytest.approx(0.6)


def test_a_majority_needs_more_than_half():
    assert torch.equal(ambiguous.majority(torch.stack([A, NONE])), NONE)
    assert torch.equal(ambiguous.majority(torch.stack([A, A, NONE])), A)

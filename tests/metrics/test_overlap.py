"""Overlap of label maps, by hand."""

import math

import pytest
import torch

from diffzoo.metrics.overlap import label_scores


def boxes(*places, size=(12, 12, 12)):
    labels = torch.zeros(1, 1, *size)
    for label, (x, n) in enumerate(places, 1):
        labels[0, 0, x : x + n, 2:8, 2:8] = label
    return labels


def test_two_shifted_boxes():
    scores = label_scores(boxes((1, 4), (6, 4)), boxes((2, 4), (7, 4)), (1.0, 1.0, 1.0))
    assert scores["dice"] == pytest.approx(0.75) and scores["hd95"] == pytest.approx(1.0)
    assert label_scores(boxes((1, 4)), boxes((2, 4)), (2.0, 1.0, 1.0))["hd95"] == pytest.approx(2.0)


def test_the_same_labels_agree():
    assert label_scores(boxes((1, 4)), boxes((1, 4)), (1.0, 1.0, 1.0)) == {"dice": 1.0, "hd95": 0.0}


def test_a_label_that_one_lacks_is_a_dice_of_zero_and_has_no_distance():
    scores = label_scores(boxes((1, 4)), boxes((1, 4), (6, 4)), (1.0, 1.0, 1.0))
    assert scores["dice"] == pytest.approx(0.5) and scores["hd95"] == 0
    scores = label_scores(boxes(), boxes((1, 4)), (1.0, 1.0, 1.0))
    assert scores["dice"] == 0 and math.isnan(scores["hd95"])


def test_nothing_to_compare_is_nan():
    assert all(math.isnan(v) for v in label_scores(boxes(), boxes(), (1.0, 1.0, 1.0)).values())

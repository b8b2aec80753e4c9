"""Pieces of a mask: order, volume and place."""

import numpy as np
import pytest

from diffzoo.metrics.regions import pieces, volume_ml

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1]])


def test_pieces_are_told_the_largest_first_in_scanner_mm():
    mask = np.zeros((20, 20, 10), bool)
    mask[2:4, 2:4, 2] = True
    mask[10:14, 10:14, 5:7] = True
    mask[4, 4, 3] = True  # touches the first by a corner
    found = pieces(mask, AFFINE)
    assert [p["ml"] for p in found] == pytest.approx([32 * 0.02, 5 * 0.02])
    assert found[0]["centre_mm"] == pytest.approx([10 - 2 * 11.5, -20 + 2 * 11.5, 30 + 5 * 5.5])
    assert volume_ml(mask, AFFINE) == pytest.approx(37 * 0.02)
    assert len(pieces(mask, AFFINE, most=1)) == 1 and pieces(np.zeros((3, 3, 3), bool), AFFINE) == []

"""The head in an MR: its outline with all that lies within."""

import numpy as np
import pytest
from whole_head import whole_head

from diffzoo.errors import InputError
from diffzoo.imaging.head_mask import closed, depth_mm, head_mask, largest


def test_a_head_is_found_with_its_dark_skull_in_both_contrasts():
    truth = whole_head("labels").numpy()[0] > 0
    for kind in ("t1", "t2"):
        found = head_mask(whole_head(kind, noise=5).numpy()[0], (4, 4, 4))
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.98
        assert found[25, 25, 25]  # the dark skull around it is filled


def test_an_empty_or_a_tiny_image_is_no_head():
    tiny = np.zeros((40, 40, 40), np.float32)
    with pytest.raises(InputError, match="no signal"):
        head_mask(tiny, (2, 2, 2))
    tiny[18:22, 18:22, 18:22] = 100
    with pytest.raises(InputError, match="no head found"):
        head_mask(tiny, (2, 2, 2))


def test_a_gap_is_closed_up_to_twice_the_radius():
    line = np.zeros((21, 3, 3), bool)
    line[:8], line[12:] = True, True  # a gap of 4 voxels of 2 mm
    assert closed(line, 5, (2, 2, 2))[:, 1, 1].all()
    assert not closed(line, 1.9, (2, 2, 2))[9:11, 1, 1].any()


def test_depth_is_counted_in_mm_and_not_through_the_end_of_the_stack():
    depth = depth_mm(np.ones((5, 5, 3), bool), (2.0, 3.0, 1.0))
    assert depth[2, 2].tolist() == [6.0] * 3 and depth[0, 2, 0] == 2.0


def test_the_largest_piece_is_kept():
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0], mask[3:5, 3:5, 3:5] = True, True
    assert largest(mask).sum() == 8

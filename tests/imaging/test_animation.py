"""A moving picture of planes: its frames, their proportions and their grey values."""

import numpy as np
import pytest
from PIL import Image

from diffzoo.imaging.animation import HOLD, animate


def test_frames_go_forth_and_back_at_true_proportions(tmp_path):
    frames = [[np.full((10, 20), v), np.full((10, 10), 1 - v)] for v in (0.0, 0.5, 1.0)]
    path = animate(tmp_path / "path.png", frames, [(2.0, 1.0), (1.0, 2.0)])
    with Image.open(path) as picture:
        seen, stays = [], []
        for k in range(picture.n_frames):
            picture.seek(k)
            seen.append(np.asarray(picture.convert("L")))
            stays.append(picture.info["duration"])
    high, wide = seen[0].shape
    assert wide > 1.4 * high and high > 100
    assert seen[0][high // 2, 20] == 0 and abs(int(seen[1][high // 2, 20]) - 128) <= 3
    assert [int(frame[high // 2, 20]) // 120 for frame in seen] == [0, 1, 2, 1] and stays == [720, 120, 720, 120]
    assert stays[0] == HOLD * stays[1]


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a frame"):
        animate(tmp_path / "path.png", [], [])
    assert not list(tmp_path.iterdir())

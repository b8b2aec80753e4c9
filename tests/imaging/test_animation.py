"""A GIF of planes: its frames, their proportions and their grey values."""

import numpy as np
import pytest
from PIL import Image

from diffzoo.imaging.animation import HOLD, animate


def test_frames_go_forth_and_back_at_true_proportions(tmp_path):
    frames = [[np.full((10, 20), v), np.full((10, 10), 1 - v)] for v in (0.0, 0.5, 1.0)]
    path = animate(tmp_path / "path.gif", frames, [(2.0, 1.0), (1.0, 2.0)])
    with Image.open(path) as picture:
        seen = []
        for k in range(picture.n_frames):
            picture.seek(k)
            seen.append(np.asarray(picture.convert("L")))
            assert picture.info["duration"] >= 100
    high, wide = seen[0].shape
    assert wide > 1.4 * high and high > 100
    assert seen[0][high // 2, 20] == 0 and seen[1][high // 2, 20] == pytest.approx(128, abs=3)
    assert max(frame[high // 2, 20] for frame in seen) == 255 and seen[-1][high // 2, 20] == 0
    assert len(seen) <= 2 * len(frames) + HOLD


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a frame"):
        animate(tmp_path / "path.gif", [], [])
    assert not list(tmp_path.iterdir())

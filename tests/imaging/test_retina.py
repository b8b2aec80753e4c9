"""Random retinas: their layers, their display, their seeds."""

import numpy as np
import pytest

from diffzoo.imaging.phantoms.retina import FLOOR_DB, LAYERS, RANGE_DB, display, retina

SHAPE = (96, 128, 5)


def test_layers_come_one_below_the_other_and_the_vitreous_is_the_noise_floor():
    eye = retina(SHAPE, 3)
    assert eye.levels.shape == eye.layers.shape == SHAPE
    steps = np.diff(eye.layers.astype(int), axis=1)
    assert steps.min() >= 0 and eye.layers[:, 0].max() == 0 and eye.layers.max() == len(LAYERS) + 1
    vitreous = eye.levels[:, :4]
    assert vitreous.min() >= 0 and vitreous.max() < 0.2
    means = [eye.levels[eye.layers == k].mean() for k in range(1, len(LAYERS) + 1)]
    assert means[9] > means[4] and means[0] > means[2] and means[7] > means[6]


def test_neighbouring_frames_show_nearly_the_same_and_motion_moves_them():
    still, moving = retina(SHAPE, 5, motion=0.0).levels, retina(SHAPE, 5).levels
    apart = [np.abs(np.diff(x, axis=2)).mean() for x in (still, moving)]
    assert apart[0] < apart[1]
    other = np.abs(still[..., 2] - retina(SHAPE, 6, motion=0.0).levels[..., 2]).mean()
    assert apart[0] < 0.5 * other


def test_a_display_shows_its_range_of_decibels():
    shown = display(np.array([FLOOR_DB - 5, FLOOR_DB, 0.0, FLOOR_DB + RANGE_DB, 100.0]))
    np.testing.assert_allclose(shown[[0, 1, 3, 4]], [0, 0, 255, 255])
    assert shown[2] == 255 * -FLOOR_DB / RANGE_DB


def test_a_seed_is_an_eye_and_frames_have_a_least_size():
    assert np.array_equal(retina(SHAPE, 1).levels, retina(SHAPE, 1).levels)
    assert not np.array_equal(retina(SHAPE, 1).layers, retina(SHAPE, 2).layers)
    with pytest.raises(ValueError, match="32 x 32 pixels or more"):
        retina((16, 64, 3), 0)

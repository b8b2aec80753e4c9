"""The volumes that verification runs on: of the kind asked for, where the affine puts them, unlike their mirror images."""

import numpy as np
import pytest

from diffzoo.errors import InputError
from diffzoo.imaging.brain_mask import is_stripped
from diffzoo.imaging.phantoms.volumes import BRAIN_MM, SAMPLES, lesion, sample

AFFINE = np.diag([4.0, 4.0, 6.0, 1.0])
AFFINE[:3, 3] = -0.5 * np.array([4.0, 4.0, 6.0]) * (np.array([45, 53, 25]) - 1)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_sample_is_the_same_for_a_seed_and_unlike_its_mirror_images(kind):
    array = sample(kind, (45, 53, 25), AFFINE, seed=1)
    assert array.dtype == np.float32 and np.array_equal(array, sample(kind, (45, 53, 25), AFFINE, seed=1))
    assert not np.array_equal(array, sample(kind, (45, 53, 25), AFFINE, seed=2))
    for axis in range(3):
        assert (array - np.flip(array, axis)).std() > 0.02 * np.ptp(array)


def test_units_are_magnitudes_or_hu():
    slab, ct = (sample(kind, (33, 3, 29), np.eye(4)) for kind in ("slab", "ct"))
    assert slab.min() == 0 and 800 < slab.max() <= 900
    assert np.allclose(ct, 1.4 * slab - 1000)


def test_slices_of_a_slab_lie_along_its_shortest_axis():
    upright = sample("slab", (33, 29, 3), np.eye(4))
    assert np.array_equal(np.moveaxis(sample("slab", (33, 3, 29), np.eye(4)), 1, 2), upright)


def test_a_head_stands_in_space_whatever_the_grid():
    array = sample("head", (45, 53, 25), AFFINE)
    voxels = np.prod(np.diag(AFFINE)[:3])
    assert (array > 0).sum() * voxels == pytest.approx(4 / 3 * np.pi * np.prod(BRAIN_MM), rel=0.02)
    assert array[0].max() == 0 and array[22, 26, 12] > 0
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -AFFINE[0, 0], -AFFINE[0, 3]
    difference = np.abs(sample("head", (45, 53, 25), flipped)[::-1] - array)
    assert difference.max() < 100  # noise alone


def test_a_whole_head_has_skull_and_scalp_around_a_brain():
    t1, t2, ct = (sample("whole_head", (45, 53, 25), AFFINE, 3, contrast) for contrast in ("t1", "t2", "ct"))
    skull, brain = ct > 800, (ct > -500) & (t1 > 430) & (t2 < 440)  # brain: white matter alone
    voxel = np.prod(np.diag(AFFINE)[:3]) / 1000  # ml
    assert 150 < skull.sum() * voxel < 300 and t1[skull].max() < 150 and 0 < t1[ct == -1000].max() < 60
    assert brain.sum() * voxel > 100 and np.median(ct[brain]) == pytest.approx(25, abs=10)
    assert not is_stripped(t1, np.diag(AFFINE)[:3])


def test_a_lesion_is_a_ball_within_the_brain():
    ball = lesion((45, 53, 25), AFFINE)
    assert ball.sum() * np.prod(np.diag(AFFINE)[:3]) == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.1)
    assert (sample("head", (45, 53, 25), AFFINE)[ball] > 0).all()


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="there is no sample 'knee'"):
        sample("knee", (8, 8, 8), np.eye(4))


def test_a_head_as_ct_is_that_of_the_whole_head():
    assert np.array_equal(sample("head_ct", (45, 53, 25), AFFINE, 3), sample("whole_head", (45, 53, 25), AFFINE, 3, "ct"))

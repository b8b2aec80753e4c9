"""Simulated nodules: nested outlines, known frequencies, the same bits again; and stacks of them."""

import numpy as np
import pytest
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.phantoms.nodules import FREQUENCIES, KINDS, nodule
from diffzoo.imaging.phantoms.volumes import readers, sample

AFFINE = np.diag([0.5, 0.5, 2.0, 1.0])


@pytest.mark.parametrize("kind", KINDS)
def test_outlines_lie_in_each_other_near_the_middle(kind):
    for seed in range(12):
        case = nodule(80, 0.5, seed, kind)
        core, half, rim, nothing = case.masks
        assert not nothing.any() and core.any()
        assert (core <= half).all() and (half <= rim).all() and rim.sum() > core.sum()
        assert np.hypot(*(np.array(ndimage.center_of_mass(core)) - 39.5)) < 6
        assert case.image.dtype == np.float32 and -1000 <= case.image.min() < case.image.max() <= 2000


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_are_those_of_the_kind_and_sum_to_one(kind):
    assert nodule(64, 0.5, 3, kind).frequencies == FREQUENCIES[kind]
    assert sum(FREQUENCIES[kind]) == pytest.approx(1)
    assert all((20 * f) == pytest.approx(round(20 * f)) for f in FREQUENCIES[kind])  # so that twenty readers tell them exactly


def test_a_core_is_brighter_than_its_rim_and_that_than_the_lung():
    cases = [nodule(80, 0.5, seed, "part_solid") for seed in range(30)]
    levels = []
    for case in cases:
        core, _, rim, _ = case.masks
        around = ndimage.binary_dilation(rim, iterations=6) & ~ndimage.binary_dilation(rim, iterations=3)
        levels.append([np.median(case.image[part]) for part in (core, rim & ~core, around)])
    core, rim, lung = np.median(levels, 0)
    assert core > rim + 150 > lung + 250


def test_a_seed_fixes_the_bits_and_another_does_not():
    assert np.array_equal(nodule(48, 0.5, 5).image, nodule(48, 0.5, 5).image)
    assert not np.array_equal(nodule(48, 0.5, 5).image, nodule(48, 0.5, 6).image)
    assert {nodule(48, 0.5, seed).kind for seed in range(30)} == set(KINDS)


@pytest.mark.parametrize(("size", "pixel", "kind"), [(8, 0.5, None), (64, 0.0, None), (64, 0.5, "cyst")])
def test_bad_input_is_told(size, pixel, kind):
    with pytest.raises(InputError, match="nodule"):
        nodule(size, pixel, 0, kind)


@pytest.mark.parametrize("kind", ["nodule", "lung_nodule"])
@pytest.mark.parametrize("shape", [(40, 32, 3), (33, 3, 27)])
def test_a_stack_has_masks_of_its_shape(shape, kind):
    image, masks = sample(kind, shape, AFFINE, 2), readers(shape, AFFINE, 2, kind)
    assert image.shape == shape and masks.shape == (4, *shape) and masks.dtype == bool
    assert masks[2].any((0, 1, 2)[: int(np.argmin(shape))] + (0, 1, 2)[int(np.argmin(shape)) + 1 :]).all()
    assert image[masks[0]].mean() > image[~masks[2]].mean() + 200


def test_a_bare_nodule_is_like_none_of_its_flips():
    case = nodule(40, 0.5, 0, "solid", bare=True)
    for axis in (0, 1):
        image, mask = (x.astype(float) - np.flip(x, axis) for x in (case.image, case.masks[2]))
        assert np.corrcoef(image.ravel(), mask.ravel())[0, 1] > 0.8

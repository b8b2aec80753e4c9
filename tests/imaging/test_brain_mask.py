"""The brain found in simulated heads of each contrast, and the refusal of what is none."""

import numpy as np
import pytest
from heads_toy import toy_head
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.imaging.brain_mask import brain_mask, is_stripped


def dice(a, b):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


def thick(modality):
    """A head of 1.6 x 2.4 mm pixels and 6 mm slices, turned about the left-right axis and off centre."""
    cos, sin = np.cos(0.2), np.sin(0.2)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) * (1.6, 2.4, 6.0)
    affine[:3, 3] = -affine[:3, :3] @ (60, 43, 13)
    return toy_head((112, 88, 28), affine, modality)


@pytest.mark.parametrize("modality", ["t1", "t2", "flair"])
def test_the_brain_of_a_head_is_found_in_every_contrast(modality):
    head, _, brain = toy_head(modality=modality)
    kept = head.copy()
    mask = brain_mask(head, (4, 4, 4))
    assert mask.dtype == bool and mask.shape == head.shape and np.array_equal(head, kept)
    assert dice(mask, brain) > 0.91 and not is_stripped(head, (4, 4, 4))
    assert head[mask].max() < 1.5 * head[brain].max()


def test_thick_tilted_slices_do_not_hide_it():
    head, _, brain = thick("flair")
    assert dice(brain_mask(head, (1.6, 2.4, 6.0)), brain) > 0.92


@pytest.mark.parametrize("modality", ["t1", "t2", "flair"])
def test_a_stripped_scan_is_its_own_mask_with_its_holes_filled(modality):
    head, _, brain = toy_head(modality=modality, stripped=True)
    head[22:26, 25:29, 18:22] = 0
    assert is_stripped(head, (4, 4, 4))
    mask = brain_mask(head, (4, 4, 4))
    assert dice(mask, brain) > 0.97 and mask[22:26, 25:29, 18:22].all()


@settings(deadline=None, max_examples=3)
@given(gain=st.floats(1e-3, 1e4), bias=st.floats(-0.25, 0.25), stripped=st.booleans())
def test_neither_the_units_nor_a_slope_of_the_coil_matter(gain, bias, stripped):
    head, _, brain = toy_head(stripped=stripped)
    slope = np.exp(bias * np.linspace(-1, 1, head.shape[1]))[None, :, None]
    assert dice(brain_mask(gain * slope * head, (4, 4, 4)), brain) > 0.9


@pytest.mark.parametrize(("centre", "radius", "value"), [((44, 10, 20), 12, 1500.0), ((32, 0, 22), 15, 20.0)])
def test_a_bright_lesion_at_the_cortex_or_a_dark_one_beneath_stays_inside(centre, radius, value):
    head, affine, brain = toy_head()
    points = np.einsum("ij,j...->i...", affine[:3, :3], np.indices(head.shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    lesion = (np.linalg.norm(points - np.reshape(centre, (3, 1, 1, 1)), axis=0) < radius) & brain
    head[lesion] = value
    mask = brain_mask(head, (4, 4, 4))
    assert mask[lesion].mean() > 0.95 and dice(mask, brain) > 0.91


def test_the_neck_is_cut_off():
    shape, affine = (48, 54, 74), np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-94, -106, -210)
    head, affine, brain = toy_head(shape, affine)
    x, y = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 4 for n in shape[:2]), indexing="ij")
    neck = (np.hypot(x, y) < 55)[..., None] & (np.arange(shape[2]) * 4 - 210 < -60)
    head[neck & (head < 100)] = 350
    mask = brain_mask(head, (4, 4, 4))
    assert dice(mask, brain) > 0.85 and not mask[:, :, :20].any()


def ball(radius, shape=(40, 40, 40)):
    return 500.0 * (np.linalg.norm(np.indices(shape) - np.reshape([(n - 1) / 2 for n in shape], (3, 1, 1, 1)), axis=0) < radius)


@pytest.mark.parametrize(
    ("volume", "spacing", "message"),
    [
        (np.zeros((30, 30, 30)), (4, 4, 4), "every voxel is 0"),
        (ball(8), (2, 2, 2), "no slice shows more than 30 cm2|ml of something"),
        (np.full((30, 30, 30), 500.0) + ball(10, (30, 30, 30)), (4, 4, 4), "border|ml of something"),
        (np.where(np.abs(np.subtract(*np.indices((60, 60))))[..., None] < 5, 500.0, np.zeros(40)), (4, 4, 4), "not compact"),
        (np.zeros((30, 30)), (4, 4), "needs a volume"),
        (ball(16), (4, 4, 0), "needs a volume"),
    ],
)
def test_what_cannot_be_a_brain_is_refused_in_one_line(volume, spacing, message):
    with pytest.raises(InputError, match=message) as caught:
        brain_mask(volume, spacing)
    assert "\n" not in str(caught.value)

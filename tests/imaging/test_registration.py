"""Classical registration: known maps of a textured phantom are found again, on any grid, and twice the same."""

from functools import cache

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from warps_toy import oblique, rotation, smooth, textured, volume

from diffzoo.errors import InputError
from diffzoo.imaging import fields, registration

SHAPE = (32, 36, 28)
SHEAR = np.array([[1.06, 0.04, 0.0, 2.0], [-0.03, 0.97, 0.02, -1.5], [0.0, 0.03, 1.04, 1.0], [0, 0, 0, 1]])


@cache
def bent(dims=3):
    """(fixed, moving, field, tissue): a phantom and its copy under a known field of about a voxel."""
    shape = SHAPE if dims == 3 else (48, 40)
    field = fields.integrate(smooth(shape, 2.5, seed=4, knots=2))
    moving = textured(shape)
    fixed = fields.warp(moving, field)
    tissue = fixed > 60
    if dims == 2:
        fixed, moving, tissue = fixed[..., None], moving[..., None], tissue[..., None]
    return volume(fixed, np.eye(4)), volume(moving, np.eye(4)), fields.lift(field), tissue


def test_a_known_warp_is_found_again():
    fixed, moving, truth, tissue = bent()
    still = fields.end_point_error(0 * truth, truth, tissue)
    found = registration.demons(fixed, moving, np.eye(4))
    assert found.shape == truth.shape and still > 0.8
    assert fields.end_point_error(found, truth, tissue) < 0.5 * still
    assert fields.folding(found) == 0


def test_a_field_starts_from_any_alignment():
    fixed, moving, _, _ = bent()
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = rotation((0.3, -0.2, 0.4)), (9, -4, 6)
    moved = MetaTensor(moving.as_tensor(), affine=torch.as_tensor(world))
    plain = registration.demons(fixed, moving, np.eye(4), iterations=5)
    turned = registration.demons(fixed, moved, world, iterations=5)
    assert torch.allclose(fields.regrid(plain, np.eye(4), np.eye(4), SHAPE, world), turned, atol=2e-2)


def test_slices_are_registered_in_their_plane():
    fixed, moving, truth, tissue = bent(2)
    found = registration.demons(fixed, moving, np.eye(4))
    assert found.shape == truth.shape and not found[:, 2].any()
    assert fields.end_point_error(found, truth, tissue) < 0.6 * fields.end_point_error(0 * truth, truth, tissue)


@pytest.mark.parametrize("metric", ["mattes", "correlation"])
@pytest.mark.parametrize(
    "angles, sizes, signs", [((0, 0, 0), (1, 1, 1), (1, 1, 1)), ((0.3, -0.2, 0.5), (1.1, 0.9, 1.3), (-1, 1, 1))]
)
def test_a_known_affine_map_is_found_again_between_oblique_grids(metric, angles, sizes, signs):
    moving_affine = oblique((-0.1, 0.2, 0.1), (1.0, 1.1, 1.0), (1, -1, 1), SHAPE, (30, -20, 10))
    moving = textured(SHAPE)
    grid = oblique(angles, sizes, signs, (30, 34, 30), (30, -20, 10))
    middle = np.eye(4)
    middle[:3, 3] = (30, -20, 10)
    world = middle @ SHEAR @ np.linalg.inv(middle)
    field = registration.alignment_field(world, volume(torch.zeros(1, 1, 30, 34, 30), grid))
    fixed = volume(fields.warp_onto(moving, moving_affine, field, grid), grid)
    found = registration.affine(fixed, volume(moving, moving_affine), metric=metric)
    missed = registration.alignment_field(found, fixed) - field
    tissue = fixed[None] > 60
    assert fields.end_point_error(missed, 0 * missed, tissue, sizes) < 0.3
    assert np.array_equal(found, registration.affine(fixed, volume(moving, moving_affine), metric=metric))


def test_a_rigid_map_is_found_again_and_is_rigid():
    grid, other = oblique((0.1, 0, 0.2), (1, 1, 1), (1, 1, 1), SHAPE), oblique((0, 0.1, 0), (1.2, 1, 1.1), (-1, 1, 1), SHAPE)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = rotation((0.06, -0.05, 0.08)), (2.0, -1.5, 1.0)
    moving = textured(SHAPE)
    field = registration.alignment_field(world, volume(torch.zeros(1, 1, *SHAPE), grid))
    fixed = volume(fields.warp_onto(moving, other, field, grid), grid)
    found = registration.named("rigid")(fixed, volume(moving, other))
    assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)
    missed = registration.alignment_field(found, fixed) - field
    assert fields.end_point_error(missed, 0 * missed, fixed[None] > 60, (1, 1, 1)) < 0.3


def test_an_affine_map_of_a_slice_stays_in_its_plane():
    moving, affine = textured((48, 40)), oblique((0.4, 0.1, 0.2), (0.8, 1.2, 5.0), (1, 1, 1), (48, 40, 1))
    shift = np.eye(4)
    shift[:3, 3] = affine[:3, :3] @ (2.0, -1.5, 0)
    image = volume(moving[..., None], affine)
    fixed = volume(fields.warp_onto(moving[..., None], affine, registration.alignment_field(shift, image), affine), affine)
    found = registration.affine(fixed, image)
    assert np.allclose(np.linalg.inv(affine) @ found @ affine @ [20, 20, 0, 1], [22, 18.5, 0, 1], atol=0.15)


def test_centres_meet_and_alignments_become_part_of_the_field():
    a = oblique((0.1, 0.2, 0.3), (1, 2, 1.5), (1, -1, 1), (10, 11, 12), (5, 6, 7))
    b = oblique((0, 0, 0.5), (1, 1, 1), (1, 1, 1), (20, 8, 9), (-3, 2, 40))
    fixed, moving = volume(torch.zeros(1, 1, 10, 11, 12), a), volume(torch.zeros(1, 1, 20, 8, 9), b)
    shift = registration.centre(fixed, moving)
    assert np.allclose(shift[:3, 3], (-8, -4, 33)) and np.allclose(shift[:3, :3], np.eye(3))
    field = registration.alignment_field(shift, fixed)
    assert torch.allclose(fields.to_itk(field, a).shape and torch.as_tensor(fields.to_itk(field, a)), torch.tensor([8.0, 4, 33]))
    image, other, _, _ = bent()
    moved = volume(other[None].as_tensor(), np.diag([1.0, 1, 1, 1]) + np.pad([[5.0], [0], [0], [0]], ((0, 0), (3, 0))))
    start = registration.centre(image, moved)
    plain, shifted = (registration.demons(image, m, s, iterations=5) for m, s in ((other, np.eye(4)), (moved, start)))
    assert torch.allclose(shifted - plain, torch.tensor([5.0, 0, 0]).view(1, 3, 1, 1, 1), atol=1e-3)
    assert torch.equal(registration.demons(image, moved, iterations=5), shifted)


def test_what_cannot_be_registered_is_refused():
    fixed, moving, _, _ = bent()
    slab, _, _, _ = bent(2)
    with pytest.raises(InputError, match="unknown metric 'ncc'"):
        registration.affine(fixed, moving, metric="ncc")
    with pytest.raises(InputError, match="one of the pair is a slice"):
        registration.demons(fixed, slab)
    with pytest.raises(InputError, match="not parallel"):
        turned = MetaTensor(slab.as_tensor(), affine=torch.as_tensor(oblique((1.0, 0, 0), (1, 1, 1), (1, 1, 1), (48, 40, 1))))
        registration.affine(slab, turned)
    with pytest.raises(InputError, match="do not overlap"):
        away = np.eye(4)
        away[0, 3] = 500
        registration.affine(fixed, moving, start=away)

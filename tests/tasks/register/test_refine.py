"""Descent on a pair: the loss falls, a known shift is found, nothing folds, no step changes nothing."""

import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss
from warps_toy import textured

from diffzoo.imaging import fields
from diffzoo.tasks.register.refine import refinement

LOSS = LocalNormalizedCrossCorrelationLoss(spatial_dims=2, kernel_size=7, smooth_dr=1e-5)


def pair(shift=1.5):
    fixed = (textured((40, 36), seed=3) / 500).clamp(0, 1)
    field = torch.zeros(1, 2, 40, 36)
    field[:, 0] = shift
    return fields.warp(fixed, -field), fixed, field


def test_a_shift_is_found_where_there_is_texture():
    moving, fixed, truth = pair()
    still = torch.zeros_like(truth)
    found = fields.integrate(refinement(still, moving, fixed, LOSS, 40))
    inside = torch.zeros(1, 1, 40, 36)
    inside[..., 10:-10, 10:-10] = 1
    assert fields.end_point_error(found, truth, inside) < 0.4 * fields.end_point_error(still, truth, inside)
    assert LOSS(fields.warp(moving, found), fixed) < LOSS(moving, fixed) and fields.folding(found) == 0


def test_a_good_field_is_kept_and_no_step_is_none():
    moving, fixed, truth = pair()
    assert not refinement(truth, moving, fixed, LOSS, 0).any()
    made = fields.compose(truth, fields.integrate(refinement(truth, moving, fixed, LOSS, 10)))
    assert (made - truth)[..., 10:-10, 10:-10].abs().mean() < 0.3
    again = refinement(truth, moving, fixed, LOSS, 3)
    assert torch.equal(again, refinement(truth, moving, fixed, LOSS, 3)) and not again.requires_grad


def test_volumes_of_odd_sizes_are_refined_too():
    fixed = (textured((13, 15, 11), seed=3) / 500).clamp(0, 1)
    loss = LocalNormalizedCrossCorrelationLoss(spatial_dims=3, kernel_size=5, smooth_dr=1e-5)
    assert refinement(torch.zeros(1, 3, 13, 15, 11), fixed, fixed, loss, 1).shape == (1, 3, 13, 15, 11)

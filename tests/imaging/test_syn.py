"""SyN of ANTs, where antspyx is installed: a known warp is found again, from any alignment."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from warps_toy import rotation, smooth, textured, volume

from diffzoo.imaging import fields
from diffzoo.imaging.syn import syn

pytest.importorskip("ants", reason="antspyx is not installed: pip install diffzoo[compare]")


@pytest.mark.parametrize("shape", [(32, 36, 28), (48, 40)])
def test_a_known_warp_is_found_again(shape):
    truth = fields.integrate(smooth(shape, 2.5, seed=4, knots=2))
    moving = textured(shape)
    fixed, tissue = fields.warp(moving, truth), fields.warp(moving, truth) > 60
    if len(shape) == 2:
        fixed, moving, tissue = fixed[..., None], moving[..., None], tissue[..., None]
    truth = fields.lift(truth)
    still = fields.end_point_error(0 * truth, truth, tissue)
    found = syn(volume(fixed, np.eye(4)), volume(moving, np.eye(4)), np.eye(4))
    assert found.shape == truth.shape and fields.end_point_error(found, truth, tissue) < 0.6 * still


def test_the_field_holds_the_alignment_that_it_starts_from():
    shape, world = (32, 36, 28), np.eye(4)
    world[:3, :3], world[:3, 3] = rotation((0.3, -0.2, 0.4)), (9, -4, 6)
    moving = textured(shape)
    fixed = volume(fields.warp(moving, fields.integrate(smooth(shape, 2.5, seed=4, knots=2))), np.eye(4))
    plain = syn(fixed, volume(moving, np.eye(4)), np.eye(4))
    turned = syn(fixed, MetaTensor(volume(moving, np.eye(4)).as_tensor(), affine=torch.as_tensor(world)), world)
    assert torch.allclose(fields.regrid(plain, np.eye(4), np.eye(4), shape, world), turned, atol=5e-2)

"""Textured phantoms, smooth random fields and oblique grids for the tests of registration."""

import math

import numpy as np
import torch
from monai.data import MetaTensor
from torch.nn import functional as F

from diffzoo.imaging import fields


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth(shape, size, seed=0, knots=4):
    """A smooth field [1, d, *shape] of standard deviation about `size` voxels, 0 at the edge."""
    d = len(shape)
    coarse = F.pad(noise(1, d, *[knots] * d, seed=seed), [1] * (2 * d)) * size
    return F.interpolate(coarse, shape, mode="trilinear" if d == 3 else "bilinear", align_corners=True)


def rotation(angles):
    x, y, z = angles
    about_x = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_z = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def oblique(angles, sizes, signs, shape, centre=(0.0, 0.0, 0.0)):
    """An affine whose grid of `shape` has its middle at `centre`."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ np.diag(np.array(sizes) * signs)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def textured(shape, seed=0):
    """Smooth random tissue [1, 1, *shape] of two scales in a ball, dark around it."""
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    coarse, fine = (noise(1, 1, *[max(2, n // step) for n in shape], seed=seed + step) for step in (8, 4))
    image = F.interpolate(coarse, shape, mode=mode) + 0.5 * F.interpolate(fine, shape, mode=mode)
    where = fields.places(shape)
    half = torch.tensor([n / 2 for n in shape]).view(1, -1, *[1] * len(shape))
    radius = ((where - half + 0.5) / half).norm(dim=1, keepdim=True)
    return 100 * (3 + image).clamp(min=0) * torch.sigmoid(20 * (0.8 - radius))


def volume(tensor, affine):
    return MetaTensor(tensor[0], affine=torch.as_tensor(affine))

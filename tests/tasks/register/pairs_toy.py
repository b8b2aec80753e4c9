"""A pair of organs as `LoadPair` and `FieldToFixed` leave it, and an inferer that has just registered it."""

from types import SimpleNamespace

import numpy as np
import torch
from monai.data import MetaTensor

from diffzoo.imaging.phantoms.volumes import parts, sample
from diffzoo.imaging.registration import unaligned
from diffzoo.tasks.register.pairs import FieldToFixed, LoadPair

SHAPE = (37, 41, 35)
AFFINE = np.block([[np.eye(3), -(np.array(SHAPE)[:, None] - 1) / 2], [np.zeros((1, 3)), np.ones((1, 1))]])
STATS = {"seconds": 0.25, "network_calls": 2, "ncc_before": 0.5, "ncc_after": 0.75, "path_ncc": [0.5, 0.6, 0.75]}


def inferer(**more):
    return SimpleNamespace(stats=STATS | {"inverse_error": 0.125} | more)


def pair(tmp_path, name="a_to_b", seed=1, size=SHAPE, shift=0.0, **more):
    """An item whose field shifts by `shift` voxels along the first axis; the moving organ is that of another seed."""
    from diffzoo.imaging.io.files import write_volume

    case = {"case": name} | more
    for key, made, which in (("image", sample, 0), ("moving", sample, seed), ("label", parts, 0), ("moving_label", parts, seed)):
        volume = made("pair", SHAPE, AFFINE, which) if made is sample else made(SHAPE, AFFINE, which)
        case[key] = str(write_volume(tmp_path / f"{name}_{key}.nii.gz", volume.astype(np.float32), AFFINE))
    item = LoadPair(1.0, size, unaligned)(case)
    field = torch.zeros(3, *size)
    field[0] = shift
    item["path"] = torch.cat([field * e for e in (0, 0.5, 1)])
    return FieldToFixed()(item | {"field": MetaTensor(field, affine=item["image"].affine)})

"""A head of shells, with its skull, in T1, T2 and CT, for tests of what needs more than a brain."""

import numpy as np
from monai.data import MetaTensor
from torch import from_numpy

#          radius in mm, T1, T2, HU, label; from the outside to the middle
SHELLS = (
    (84.0, 0.40, 0.25, 50.0, 2),  # skin
    (81.0, 1.00, 0.60, -95.0, 3),  # fat
    (76.0, 0.04, 0.04, 1000.0, 4),  # outer table
    (73.0, 0.60, 0.40, 280.0, 5),  # marrow
    (70.0, 0.04, 0.04, 1000.0, 4),  # inner table
    (67.0, 0.14, 1.00, 6.0, 6),  # fluid
    (65.0, 0.42, 0.52, 38.0, 7),  # grey matter
    (50.0, 0.55, 0.40, 29.0, 8),  # white matter
    (14.0, 0.14, 1.00, 6.0, 6),  # ventricle
)
KINDS = {"t1": 1, "t2": 2, "ct": 3, "labels": 4}


def whole_head(kind, step=4.0, noise=0.0, seed=0):
    """A volume [1, X, Y, Z] of voxels of `step` mm: "t1", "t2", "ct" or "labels"; MR times 1000, with noise where asked for."""
    count = int(np.ceil(200 / step))
    axes = (np.arange(count) - (count - 1) / 2) * step
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(axes, axes, axes, indexing="ij")))
    made = np.full(radius.shape, -1000.0 if kind == "ct" else 0.0, np.float32)
    for shell in SHELLS:
        made[radius < shell[0]] = shell[KINDS[kind]] * (1000 if kind in ("t1", "t2") else 1)
    made += noise * np.abs(np.random.default_rng(seed).standard_normal(made.shape)).astype(np.float32)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = axes[0]
    return MetaTensor(from_numpy(made)[None], affine=from_numpy(affine))

"""Symmetric normalisation by ANTs, for comparison where antspyx is installed: pip install diffzoo[compare]."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from diffzoo.imaging.fields import lift, regrid
from diffzoo.imaging.itk_pair import framed, set_matrix
from diffzoo.imaging.registration import centre


def syn(
    fixed: MetaTensor,
    moving: MetaTensor,
    start: np.ndarray | None = None,
    metric: str = "CC",
    radius: int = 2,
    iterations: tuple[int, ...] = (40, 20, 10),
    step: float = 0.2,
) -> Tensor:
    """The field [1, 3, X, Y, Z] of SyN (Avants et al. 2008) after the alignment `start` (none: `centre`), as in `registration`.

    metric: of ANTs, with its radius in voxels (for "mattes" its bins); iterations: of each level, the coarsest first. Needs
    antspyx.
    """
    import ants
    import SimpleITK as sitk

    pair = framed(fixed, moving)
    start = centre(fixed, moving) if start is None else start
    transform = sitk.AffineTransform(pair.dims)
    set_matrix(transform, pair.from_world(start))
    aligned = sitk.Resample(pair.moving, pair.fixed, transform, sitk.sitkLinear, 0.0)
    steps = pair.fixed.GetSpacing()
    images = [ants.from_numpy(np.ascontiguousarray(sitk.GetArrayFromImage(x).T), spacing=steps) for x in (pair.fixed, aligned)]
    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(
            *images,
            type_of_transform="SyNOnly",
            syn_metric=metric,
            syn_sampling=radius,
            reg_iterations=iterations,
            grad_step=step,
            outprefix=str(Path(folder) / "syn"),
        )
        field_file = ants.apply_transforms(*images, result["fwdtransforms"], compose=str(Path(folder) / "all"))
        vectors = ants.image_read(field_file).numpy() / np.array(steps)  # [X, Y, (Z,) d] in voxels
    field = lift(torch.from_numpy(np.ascontiguousarray(np.moveaxis(vectors, -1, 0)))[None].float())
    affine = np.asarray(fixed.affine, dtype=np.float64)
    return regrid(field, affine, affine, fixed.shape[1:], start)

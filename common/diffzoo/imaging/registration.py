"""Classical registration by SimpleITK: pre-alignment of a pair, and the baselines that a network has to beat.

fixed and moving are volumes [1, X, Y, Z] with affines (RAS+ world, mm), on grids of their own; a pair of slices has Z = 1 in
one plane. An alignment is a world map [4, 4], fixed world -> moving world. A field is [1, 3, X, Y, Z] in voxels of the fixed
image, as in `imaging.fields`, and holds the alignment that it starts from. All of it is deterministic, on one thread.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.fields import lift, regrid
from diffzoo.imaging.itk_pair import Pair, framed, matrix_of, optimisation, overlapping, set_matrix, shrunk
from diffzoo.names import nearest

if TYPE_CHECKING:
    import SimpleITK as sitk

Align = Callable[[MetaTensor, MetaTensor], np.ndarray]  # (fixed, moving) -> world map [4, 4]


def middle(image: MetaTensor) -> np.ndarray:
    """World place [3] (mm) of the middle of a volume's grid."""
    affine = np.asarray(image.affine, dtype=np.float64)
    return affine[:3, :3] @ ((np.array(image.shape[1:]) - 1) / 2) + affine[:3, 3]


def centre(fixed: MetaTensor, moving: MetaTensor) -> np.ndarray:
    """The shift that brings the middles of the two grids together, as an alignment."""
    shift = np.eye(4)
    shift[:3, 3] = middle(moving) - middle(fixed)
    return shift


def unaligned(fixed: MetaTensor, moving: MetaTensor) -> np.ndarray:
    """No alignment: places in the scanner are trusted."""
    return np.eye(4)


def named(name: str) -> Callable[[MetaTensor, MetaTensor], np.ndarray]:
    """The alignment of that name: affine, rigid, centre or none. Raises InputError for another."""
    known = {"affine": affine, "rigid": rigid, "centre": centre, "none": unaligned}
    if name not in known:
        raise InputError(f"unknown alignment {name!r}; {nearest(name, known)}")
    return known[name]


def alignment_field(matrix: np.ndarray, fixed: MetaTensor) -> Tensor:
    """An alignment as a field on the grid of `fixed`."""
    affine, shape = np.asarray(fixed.affine, dtype=np.float64), fixed.shape[1:]
    return regrid(torch.zeros(1, 3, *shape), affine, affine, shape, matrix)


def affine(
    fixed: MetaTensor,
    moving: MetaTensor,
    start: np.ndarray | None = None,
    metric: str = "mattes",
    levels: Sequence[int] = (2, 1),
    iterations: int = 100,
    samples: int = 100_000,
) -> np.ndarray:
    """The affine alignment of the best `metric` (of METRICS: mutual information, ...), from `start` or `centre`.

    levels: shrink factors, coarse to fine; samples: voxels that a level's metric reads at the most. Raises InputError for an
    unknown metric and for images that do not overlap.
    """
    import SimpleITK as sitk

    pair = framed(fixed, moving)
    start = centre(fixed, moving) if start is None else start
    return _optimised(pair, sitk.AffineTransform(pair.dims), start, optimisation(pair, metric, levels, samples), iterations)


def rigid(
    fixed: MetaTensor,
    moving: MetaTensor,
    start: np.ndarray | None = None,
    metric: str = "mattes",
    levels: Sequence[int] = (2, 1),
    iterations: int = 60,
    samples: int = 50_000,
) -> np.ndarray:
    """The rigid alignment of the best `metric`, from `start` or the places in the scanner: scans of one person and session.

    Options and errors are those of `affine`.
    """
    import SimpleITK as sitk

    pair = framed(fixed, moving)
    start = np.eye(4) if start is None else start
    if pair.dims != 3:
        return start  # slices of one plane stay where they are
    return _optimised(pair, sitk.Euler3DTransform(), start, optimisation(pair, metric, levels, samples), iterations)


def _optimised(
    pair: Pair,
    transform: "sitk.Transform",
    start: np.ndarray,
    method: "sitk.ImageRegistrationMethod",
    iterations: int,
) -> np.ndarray:
    """The world map of a linear transform about the middle of the fixed image, by gradient descent from `start`."""
    transform.SetCenter(((np.array(pair.fixed.GetSize()) - 1) * pair.fixed.GetSpacing() / 2).tolist())
    set_matrix(transform, pair.from_world(start))
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, iterations, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    with overlapping():
        method.Execute(pair.fixed, pair.moving)
    return pair.to_world(matrix_of(transform))


def demons(
    fixed: MetaTensor,
    moving: MetaTensor,
    start: np.ndarray | None = None,
    levels: Sequence[int] = (2, 1),
    iterations: int = 50,
    smoothing: float = 1.5,
    match: bool = True,
) -> Tensor:
    """The field of diffeomorphic demons (Vercauteren et al. 2009) after the alignment `start` (none: `centre`).

    smoothing: standard deviation in voxels of the Gaussian that smooths the field after each of `iterations` a level; `match`
    brings the moving image's histogram to the fixed one's first.
    """
    import SimpleITK as sitk

    pair = framed(fixed, moving)
    start = centre(fixed, moving) if start is None else start
    transform = sitk.AffineTransform(pair.dims)
    set_matrix(transform, pair.from_world(start))
    aligned = sitk.Resample(pair.moving, pair.fixed, transform, sitk.sitkLinear, 0.0)
    aligned = sitk.HistogramMatching(aligned, pair.fixed, 256, 10, True) if match else aligned
    field = sitk.Image(pair.fixed.GetSize(), sitk.sitkVectorFloat64, pair.dims)
    field.CopyInformation(pair.fixed)
    for factor in levels:
        small = shrunk(pair.fixed, factor)
        method = sitk.DiffeomorphicDemonsRegistrationFilter()
        method.SetNumberOfThreads(1)
        method.SetNumberOfWorkUnits(1)
        method.SetNumberOfIterations(iterations)
        method.SetSmoothDisplacementField(True)
        method.SetStandardDeviations(smoothing)
        grid = sitk.Resample(field, small, sitk.Transform(), sitk.sitkLinear, 0.0)
        field = method.Execute(small, shrunk(aligned, factor), grid)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    return _with_start(_field_of(transform, pair), fixed, start)


def _field_of(transform: "sitk.Transform", pair: Pair) -> Tensor:
    """A transform of the frame as a field in voxels of the fixed grid, [1, 3, X, Y, Z]."""
    import SimpleITK as sitk

    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, pair.fixed.GetSize(), pair.fixed.GetOrigin(), pair.fixed.GetSpacing()
    )
    vectors = sitk.GetArrayFromImage(image) / np.array(pair.fixed.GetSpacing())  # [Z, Y, X, d]
    axes = (pair.dims, *reversed(range(pair.dims)))
    return lift(torch.from_numpy(np.ascontiguousarray(vectors.transpose(axes)))[None].float())


def _with_start(field: Tensor, fixed: MetaTensor, start: np.ndarray) -> Tensor:
    affine = np.asarray(fixed.affine, dtype=np.float64)
    return regrid(field, affine, affine, fixed.shape[1:], start)

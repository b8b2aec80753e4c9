"""Classical registration by SimpleITK: pre-alignment of a pair, and the baselines that a network has to beat.

fixed and moving are volumes [1, X, Y, Z] with affines (RAS+ world, mm), on grids of their own; a pair of slices has Z = 1 in
one plane. An alignment is a world map [4, 4], fixed world -> moving world. A field is [1, 3, X, Y, Z] in voxels of the fixed
image, as in `imaging.fields`, and holds the alignment that it starts from. All of it is deterministic, on one thread.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.fields import lift, regrid
from diffzoo.imaging.geometry import spacing
from diffzoo.names import nearest

if TYPE_CHECKING:
    import SimpleITK as sitk

Align = Callable[[MetaTensor, MetaTensor], np.ndarray]  # (fixed, moving) -> world map [4, 4]
METRICS = ("mattes", "correlation", "squares")
LEAST = 16  # voxels along an axis that a coarse level must keep


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
    """The alignment of that name: affine, centre or none. Raises InputError for another."""
    known = {"affine": affine, "centre": centre, "none": unaligned}
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

    pair = _framed(fixed, moving)
    matrix = pair.from_world(centre(fixed, moving) if start is None else start)
    transform = sitk.AffineTransform(pair.dims)
    transform.SetCenter(((np.array(pair.fixed.GetSize()) - 1) * pair.fixed.GetSpacing() / 2).tolist())
    _set_matrix(transform, matrix)
    method = _method(pair, metric, levels, samples)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, iterations, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    with _overlapping():
        method.Execute(pair.fixed, pair.moving)
    return pair.to_world(_matrix_of(transform))


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

    pair = _framed(fixed, moving)
    start = centre(fixed, moving) if start is None else start
    transform = sitk.AffineTransform(pair.dims)
    _set_matrix(transform, pair.from_world(start))
    aligned = sitk.Resample(pair.moving, pair.fixed, transform, sitk.sitkLinear, 0.0)
    aligned = sitk.HistogramMatching(aligned, pair.fixed, 256, 10, True) if match else aligned
    field = sitk.Image(pair.fixed.GetSize(), sitk.sitkVectorFloat64, pair.dims)
    field.CopyInformation(pair.fixed)
    for factor in levels:
        small = _shrunk(pair.fixed, factor)
        method = sitk.DiffeomorphicDemonsRegistrationFilter()
        method.SetNumberOfThreads(1)
        method.SetNumberOfWorkUnits(1)
        method.SetNumberOfIterations(iterations)
        method.SetSmoothDisplacementField(True)
        method.SetStandardDeviations(smoothing)
        grid = sitk.Resample(field, small, sitk.Transform(), sitk.sitkLinear, 0.0)
        field = method.Execute(small, _shrunk(aligned, factor), grid)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    return _with_start(_field_of(transform, pair), fixed, start)


def bspline(
    fixed: MetaTensor,
    moving: MetaTensor,
    start: np.ndarray | None = None,
    metric: str = "mattes",
    knots_mm: float = 10.0,
    levels: Sequence[int] = (2, 1),
    iterations: int = 15,
    samples: int = 10_000,
) -> Tensor:
    """The field of a cubic B-spline (Rueckert et al. 1999), by L-BFGS-B after the alignment `start` (none: `centre`).

    knots_mm: the spacing of its knots; the other options and the errors are those of `affine`. With the metric "squares" the
    moving image's histogram is brought to the fixed one's first.
    """
    import SimpleITK as sitk

    pair = _framed(fixed, moving)
    start = centre(fixed, moving) if start is None else start
    transform = sitk.AffineTransform(pair.dims)
    _set_matrix(transform, pair.from_world(start))
    length = np.array(pair.fixed.GetSize()) * pair.fixed.GetSpacing()
    mesh = [max(1, round(mm / knots_mm)) for mm in length]
    spline = sitk.BSplineTransformInitializer(pair.fixed, mesh, order=3)
    method = _method(pair, metric, levels, samples)
    method.SetMovingInitialTransform(transform)
    method.SetInitialTransform(spline, inPlace=True)
    method.SetOptimizerAsLBFGSB(1e-5, iterations, maximumNumberOfFunctionEvaluations=2 * iterations)
    moving_image = sitk.HistogramMatching(pair.moving, pair.fixed, 256, 10, True) if metric == "squares" else pair.moving
    with _overlapping():
        method.Execute(pair.fixed, moving_image)
    return _with_start(_field_of(spline, pair), fixed, start)


@dataclass(frozen=True)
class _Pair:
    """A pair for ITK in mm along the axes of the fixed image, where shear, flips and obliquity of its header play no part."""

    fixed: "sitk.Image"
    moving: "sitk.Image"
    frame: np.ndarray  # these mm -> world
    dims: int

    def from_world(self, matrix: np.ndarray) -> np.ndarray:
        """A world map as one of this frame, [d + 1, d + 1]."""
        keep = [*range(self.dims), 3]
        return (np.linalg.inv(self.frame) @ matrix @ self.frame)[np.ix_(keep, keep)]

    def to_world(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `from_world`; a 2D map leaves the third axis of the frame as it is."""
        full = np.eye(4)
        keep = [*range(self.dims), 3]
        full[np.ix_(keep, keep)] = matrix
        return self.frame @ full @ np.linalg.inv(self.frame)


def _framed(fixed: MetaTensor, moving: MetaTensor) -> _Pair:
    flat = [image.shape[-1] == 1 for image in (fixed, moving)]
    if flat[0] != flat[1]:
        raise InputError(f"one of the pair is a slice and one a volume (shapes {list(fixed.shape)}, {list(moving.shape)})")
    dims = 2 if all(flat) else 3
    frame = np.asarray(fixed.affine, dtype=np.float64) @ np.diag([1 / s for s in spacing(fixed.affine)] + [1.0])
    grids = [np.linalg.inv(frame) @ np.asarray(image.affine, dtype=np.float64) for image in (fixed, moving)]
    if dims == 2 and np.abs(grids[1][2, :2]).max() > 1e-2 * np.abs(grids[1][:2, :2]).max():
        raise InputError("the two slices lie in planes that are not parallel: they cannot be registered in 2D")
    images = [_to_sitk(image, grid, dims) for image, grid in zip((fixed, moving), grids, strict=True)]
    return _Pair(*images, frame, dims)


def _to_sitk(image: MetaTensor, affine: np.ndarray, dims: int) -> "sitk.Image":
    import SimpleITK as sitk

    array = np.asarray(image.as_tensor()[0].detach().cpu(), dtype=np.float32)
    array = array[..., 0] if dims == 2 else array
    made = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    axes = affine[:dims, :dims]
    sizes = np.linalg.norm(axes, axis=0)
    made.SetSpacing(sizes.tolist())
    made.SetDirection((axes / sizes).ravel().tolist())
    made.SetOrigin(affine[:dims, 3].tolist())
    return made


def _set_matrix(transform: "sitk.AffineTransform", matrix: np.ndarray) -> None:
    """Makes an affine transform, about whatever centre it has, the map `matrix` [d + 1, d + 1]."""
    d, about = len(matrix) - 1, np.array(transform.GetCenter())
    transform.SetMatrix(matrix[:d, :d].ravel().tolist())
    transform.SetTranslation((matrix[:d, d] + matrix[:d, :d] @ about - about).tolist())


def _matrix_of(transform: "sitk.AffineTransform") -> np.ndarray:
    d, about = transform.GetDimension(), np.array(transform.GetCenter())
    matrix = np.eye(d + 1)
    matrix[:d, :d] = np.array(transform.GetMatrix()).reshape(d, d)
    matrix[:d, d] = np.array(transform.GetTranslation()) + about - matrix[:d, :d] @ about
    return matrix


def _method(pair: _Pair, metric: str, levels: Sequence[int], samples: int) -> "sitk.ImageRegistrationMethod":
    import SimpleITK as sitk

    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}: choose {' or '.join(METRICS)}")
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    if metric == "mattes":
        method.SetMetricAsMattesMutualInformation(32)
    elif metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMeanSquares()
    share = samples / np.prod(pair.fixed.GetSize())
    if share < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(float(share), 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([_kept(pair.fixed, factor)[0] for factor in levels])
    method.SetSmoothingSigmasPerLevel([0.5 * (factor - 1) for factor in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _kept(image: "sitk.Image", factor: int) -> list[int]:
    """The shrink factor of each axis: all `factor`, or as much as leaves every axis enough voxels."""
    return [max(1, min(factor, min(image.GetSize()) // LEAST))] * image.GetDimension()


def _shrunk(image: "sitk.Image", factor: int) -> "sitk.Image":
    import SimpleITK as sitk

    factors = _kept(image, factor)
    if factors[0] == 1:
        return image
    variance = [(0.5 * f * s) ** 2 for f, s in zip(factors, image.GetSpacing(), strict=True)]
    return sitk.Shrink(sitk.DiscreteGaussian(image, variance), factors)


def _field_of(transform: "sitk.Transform", pair: _Pair) -> Tensor:
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


@contextmanager
def _overlapping() -> Iterator[None]:
    """Says of ITK's failure what a person can do."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in ("outside moving image", "summed to zero", "No valid points")):
            raise
        raise InputError("the images could not be aligned: they do not overlap, or one holds nothing but air") from error

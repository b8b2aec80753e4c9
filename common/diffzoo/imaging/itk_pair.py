"""A pair of images as SimpleITK registers them, in mm along the axes of the fixed one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import spacing

if TYPE_CHECKING:
    import SimpleITK as sitk

METRICS = ("mattes", "correlation", "squares")
LEAST = 16  # voxels along an axis that a coarse level must keep


@dataclass(frozen=True)
class Pair:
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


def framed(fixed: MetaTensor, moving: MetaTensor) -> Pair:
    """The pair of two volumes, or of two slices of one plane; InputError for a slice and a volume, or slices not parallel."""
    flat = [image.shape[-1] == 1 for image in (fixed, moving)]
    if flat[0] != flat[1]:
        raise InputError(f"one of the pair is a slice and one a volume (shapes {list(fixed.shape)}, {list(moving.shape)})")
    dims = 2 if all(flat) else 3
    frame = np.asarray(fixed.affine, dtype=np.float64) @ np.diag([1 / s for s in spacing(fixed.affine)] + [1.0])
    grids = [np.linalg.inv(frame) @ np.asarray(image.affine, dtype=np.float64) for image in (fixed, moving)]
    if dims == 2 and np.abs(grids[1][2, :2]).max() > 1e-2 * np.abs(grids[1][:2, :2]).max():
        raise InputError("the two slices lie in planes that are not parallel: they cannot be registered in 2D")
    images = [to_sitk(image, grid, dims) for image, grid in zip((fixed, moving), grids, strict=True)]
    return Pair(*images, frame, dims)


def to_sitk(image: MetaTensor, affine: np.ndarray, dims: int) -> "sitk.Image":
    """An image [1, X, Y, Z] for ITK, placed by an affine [4, 4] without shear."""
    import SimpleITK as sitk

    array = np.asarray(image.as_tensor()[0].detach().cpu(), dtype=np.float32)
    array = array[..., 0] if dims == 2 else array
    picture = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    axes = affine[:dims, :dims]
    sizes = np.linalg.norm(axes, axis=0)
    picture.SetSpacing(sizes.tolist())
    picture.SetDirection((axes / sizes).ravel().tolist())
    picture.SetOrigin(affine[:dims, 3].tolist())
    return picture


def set_matrix(transform: "sitk.AffineTransform", matrix: np.ndarray) -> None:
    """Makes an affine transform, about whatever centre it has, the map `matrix` [d + 1, d + 1]."""
    d, about = len(matrix) - 1, np.array(transform.GetCenter())
    transform.SetMatrix(matrix[:d, :d].ravel().tolist())
    transform.SetTranslation((matrix[:d, d] + matrix[:d, :d] @ about - about).tolist())


def matrix_of(transform: "sitk.AffineTransform") -> np.ndarray:
    """The map [d + 1, d + 1] of a linear transform, whatever its centre."""
    d, about = transform.GetDimension(), np.array(transform.GetCenter())
    matrix = np.eye(d + 1)
    matrix[:d, :d] = np.array(transform.GetMatrix()).reshape(d, d)
    matrix[:d, d] = np.array(transform.GetTranslation()) + about - matrix[:d, :d] @ about
    return matrix


def optimisation(pair: Pair, metric: str, levels: Sequence[int], samples: int) -> "sitk.ImageRegistrationMethod":
    """ITK\'s registration of a pair: metric, sampling and levels set; transform and optimiser are the caller\'s."""
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
    method.SetShrinkFactorsPerLevel([kept(pair.fixed, factor)[0] for factor in levels])
    method.SetSmoothingSigmasPerLevel([0.5 * (factor - 1) for factor in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def kept(image: "sitk.Image", factor: int) -> list[int]:
    """The shrink factor of each axis: all `factor`, or as much as leaves every axis enough voxels."""
    return [max(1, min(factor, min(image.GetSize()) // LEAST))] * image.GetDimension()


def shrunk(image: "sitk.Image", factor: int) -> "sitk.Image":
    """An image smoothed and shrunk by a factor, or by as much as leaves every axis enough voxels."""
    import SimpleITK as sitk

    factors = kept(image, factor)
    if factors[0] == 1:
        return image
    variance = [(0.5 * f * s) ** 2 for f, s in zip(factors, image.GetSpacing(), strict=True)]
    return sitk.Shrink(sitk.DiscreteGaussian(image, variance), factors)


@contextmanager
def overlapping() -> Iterator[None]:
    """Says of ITK's failure what a person can do."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in ("outside moving image", "summed to zero", "No valid points")):
            raise
        raise InputError("the images could not be aligned: they do not overlap, or one holds nothing but air") from error

"""Displacement fields: how they act on images, compose and fold, and their form in files (ITK's).

A field u [B, d, *S] is in voxels of the fixed grid S, channel i along axis i: warped(p) = moving(p + u(p)). Places are voxel
indices [B, d, *S], integers at voxel centres. Affines [4, 4] go from voxel index to RAS+ world in mm.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.imaging.io.files import suffix_of
from diffzoo.imaging.io.formats import read_stored

LPS = np.array([-1.0, -1.0, 1.0])  # ITK's world from RAS, and back
STILL = 1e-13  # voxels; of a place in float64 whose way back is found
VECTOR_INTENT = 1007  # of NIfTI: ITK takes its vectors as they are, in LPS


def places(shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """The voxel indices of a grid, [1, d, *shape], in the dtype and on the device of `like`."""
    like = torch.empty(0) if like is None else like
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(image: Tensor, where: Tensor, nearest: bool = False, fill: float | None = None) -> Tensor:
    """image [B, C, *N] at places [B or 1, d, *S] -> [B, C, *S], linear or nearest; d = 2 or 3.

    Beyond the image its edge goes on; with `fill`, more than half a voxel beyond it is that value, as in ITK.
    """
    size, d = image.shape[2:], where.shape[1]
    if d not in (2, 3) or len(size) != d or where.ndim != d + 2:
        raise ValueError(f"an image {list(image.shape)} cannot be read at places {list(where.shape)}: 2D or 3D, both the same")
    where = where.expand(len(image), *where.shape[1:])
    # grid_sample counts from -1 to 1 between the outer voxel centres, last axis first
    unit = [2 * where[:, i] / max(n - 1, 1) - 1 for i, n in enumerate(size)]
    source = image if image.is_floating_point() else image.float()
    grid = torch.stack(unit[::-1], -1).to(source.dtype)
    mode = "nearest" if nearest else "bilinear"
    values = F.grid_sample(source, grid, mode=mode, padding_mode="border", align_corners=True)
    if fill is not None:
        inside = torch.stack([(where[:, i] >= -0.5) & (where[:, i] <= n - 0.5) for i, n in enumerate(size)]).all(0)
        values = torch.where(inside[:, None], values, fill)
    return values.to(image.dtype) if nearest else values


def warp(image: Tensor, field: Tensor, nearest: bool = False, fill: float | None = None) -> Tensor:
    """image [B, C, *S] moved by a field [B, d, *S] of its own grid: image(p + u(p)); options as of `sample`."""
    if image.shape[2:] != field.shape[2:]:
        text = f"an image {list(image.shape)} and a field {list(field.shape)} of different grids"
        raise ValueError(f"{text}: bring one to the other's grid, by `regrid` or `warp_onto`")
    return sample(image, places(field.shape[2:], field) + field, nearest, fill)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The field of warp(warp(x, first), second), both [B, d, *S]: second(p) + first(p + second(p)), edges extended."""
    return second + warp(first, second)


def integrate(velocity: Tensor, steps: int = 7) -> Tensor:
    """The displacement at time 1 of a stationary velocity [B, d, *S], by scaling and squaring (Arsigny et al. 2006).

    Minus the velocity gives the inverse. `steps` is the number of squarings; a field without folds needs velocities that change
    by less than 2^steps / 2 voxels between neighbours. Raises ValueError for no step.
    """
    if steps < 1:
        raise ValueError(f"scaling and squaring takes at least one step, not {steps}")
    field = velocity / 2**steps
    for _ in range(steps):
        field = compose(field, field)
    return field


def jacobian(field: Tensor) -> Tensor:
    """Determinant [B, *S] of the Jacobian I + grad u of a field [B, d, *S], by central differences, one-sided at the edges.

    1 keeps volume, less shrinks the moving image, 0 and less folds it. Raises ValueError for an axis of one voxel.
    """
    d = field.shape[1]
    if min(field.shape[2:]) < 2:
        raise ValueError(f"a field {list(field.shape)} has an axis of one voxel, and no derivative along it: take it off")
    columns = torch.gradient(field, dim=tuple(range(2, 2 + d)))
    matrix = torch.stack(columns, 2) + torch.eye(d, dtype=field.dtype, device=field.device).view(1, d, d, *[1] * d)
    if d == 2:
        return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    return (matrix[:, 0] * torch.linalg.cross(matrix[:, 1], matrix[:, 2], dim=1)).sum(1)


def folding(field: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of voxels [B] at which a field [B, d, *S] folds (determinant <= 0), of those of a mask [B or 1, 1, *S] if given."""
    return _mean((jacobian(field) <= 0)[:, None].float(), mask)


def end_point_error(field: Tensor, truth: Tensor, mask: Tensor | None = None, sizes: Sequence[float] | None = None) -> Tensor:
    """Mean length [B] of field - truth, both [B, d, *S], in voxels, or in mm with the voxel's `sizes`; mask [B or 1, 1, *S]."""
    error = field - truth
    if sizes is not None:
        error = error * torch.as_tensor(sizes, dtype=field.dtype, device=field.device).view(1, -1, *[1] * (field.ndim - 2))
    return _mean(error.norm(dim=1, keepdim=True), mask)


def inverse_error(forth: Tensor, back: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean distance [B] in voxels by which going forth and back misses the start; both fields [B, d, *S] of one grid."""
    missed = compose(back, forth)
    return end_point_error(missed, torch.zeros_like(missed), mask)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of values [B, 1, *S] over a mask, [B]."""
    if mask is None:
        return values.flatten(1).mean(1)
    weight = mask.to(values).expand_as(values).flatten(1)
    if (weight.sum(1) == 0).any():
        raise ValueError("the mask is empty: there is no voxel to take the mean of")
    return (values.flatten(1) * weight).sum(1) / weight.sum(1)


def roughness(field: Tensor) -> Tensor:
    """Mean squared forward difference [B] of a field [B, d, *S], the mean over axes: the smoothness term of VoxelMorph.

    Forward differences see a field that alternates from voxel to voxel; central ones, as MONAI's, do not.
    """
    return sum(field.diff(dim=axis).square().flatten(1).mean(1) for axis in range(2, field.ndim)) / (field.ndim - 2)


def lift(field: Tensor) -> Tensor:
    """A 2D field [B, 2, H, W] as the 3D field [B, 3, H, W, 1] of its slice, without a part across it; a 3D one as it is."""
    return F.pad(field[..., None], (0, 0, 0, 0, 0, 0, 0, 1)) if field.shape[1] == 2 else field


def _apply(matrix: np.ndarray, vectors: Tensor) -> Tensor:
    """A matrix [3, 3] at each voxel of vectors [B, 3, *S]."""
    return torch.einsum("ij,bj...->bi...", torch.as_tensor(matrix, dtype=vectors.dtype, device=vectors.device), vectors)


def _move(matrix: np.ndarray, where: Tensor) -> Tensor:
    """An affine map [4, 4] of places [B, 3, *S]."""
    shift = torch.as_tensor(matrix[:3, 3], dtype=where.dtype, device=where.device)
    return _apply(matrix[:3, :3], where) + shift.view(1, 3, 1, 1, 1)


def regrid(field: Tensor, grid: np.ndarray, affine: np.ndarray, shape: Sequence[int], start: np.ndarray | None = None) -> Tensor:
    """A field [B, d, *S] of the grid of one affine on that of another with `shape` (3), in voxels of the latter: [B, 3, *shape].

    `start` [4, 4] is the world map by which the moving image was aligned before (fixed world -> moving world): it becomes part
    of the field. Beyond its own grid the field's edge goes on. A 2D field is `lift`ed.
    """
    grid, affine = (np.asarray(a, dtype=np.float64) for a in (grid, affine))
    start = np.eye(4) if start is None else np.asarray(start, dtype=np.float64)
    inverse = np.linalg.inv(affine)
    here = places(shape, field)
    moved = _apply((inverse @ start @ grid)[:3, :3], sample(lift(field), _move(np.linalg.inv(grid) @ affine, here)))
    return moved + _move(inverse @ start @ affine - np.eye(4), here)  # the small part apart, to keep its digits


def warp_onto(
    moving: Tensor,
    moving_affine: np.ndarray,
    field: Tensor,
    affine: np.ndarray,
    nearest: bool = False,
    fill: float | None = 0.0,
) -> Tensor:
    """moving [B, C, *N], an image on a 3D grid of its own, on that of a field [B, 3, *S] whose affine is given: [B, C, *S]."""
    to_moving = np.linalg.inv(np.asarray(moving_affine, dtype=np.float64)) @ np.asarray(affine, dtype=np.float64)
    return sample(moving, _move(to_moving, places(field.shape[2:], field) + field), nearest, fill)


def inverse_onto(
    field: Tensor,
    affine: np.ndarray,
    moving_affine: np.ndarray,
    shape: Sequence[int],
    start: np.ndarray | None = None,
    rounds: int = 100,
    close: float = 0.01,
) -> tuple[Tensor, float]:
    """The way back of one field [1, 3, *S] of a fixed grid, on a moving image's grid of `shape`: [1, 3, *shape], and its miss.

    Voxels of the moving image; `start` as of `regrid`. By fixed-point iteration, which converges where the part beyond `start`
    does not fold, until no voxel moves by more than `close` fixed voxels. The miss is the mean distance in mm by which going
    back and forth misses the start, over the places that lie in the fixed image.
    """
    affine, moving_affine = (np.asarray(a, dtype=np.float64) for a in (affine, moving_affine))
    first = np.linalg.inv(affine) @ np.linalg.inv(np.eye(4) if start is None else np.asarray(start, dtype=np.float64))
    own = places(field.shape[2:], field.double())
    beyond = _move(first @ affine, own + field.double()) - own  # what the field does after the alignment
    here = places(shape, beyond)
    wanted = _move(first @ moving_affine, here)
    inverse = _settled(beyond, wanted, rounds, close)
    missed = _apply(affine[:3, :3], inverse + sample(beyond, inverse) - wanted).norm(dim=1)
    inside = torch.stack([(inverse[:, i] >= -0.5) & (inverse[:, i] <= n - 0.5) for i, n in enumerate(field.shape[2:])]).all(0)
    miss = float(missed[inside].mean()) if inside.any() else 0.0
    return (_move(np.linalg.inv(moving_affine) @ affine, inverse) - here).float(), miss


def _settled(beyond: Tensor, wanted: Tensor, rounds: int, close: float) -> Tensor:
    """The places x [1, 3, *N] with x + beyond(x) = wanted, after so many rounds or when none moves by more than `close`.

    A place that moves by no more than rounding is left where it is, and the rounds go on for the others alone.
    """
    where, goal = (wanted - sample(beyond, wanted)).flatten(2), wanted.flatten(2)
    going = torch.arange(where.shape[2], device=where.device)
    for _ in range(rounds):
        before = where[:, :, going]
        after = goal[:, :, going] - sample(beyond, before[..., None, None])[..., 0, 0]
        where[:, :, going] = after
        moved = (after - before).abs().amax((0, 1))
        if float(moved.max()) <= close:
            break
        going = going[moved > STILL]
    return where.reshape(wanted.shape)


def write_affine(path: str | Path, matrix: np.ndarray) -> Path:
    """Writes a world map [4, 4] (RAS+, fixed -> moving) as a .tfm that ITK, ANTs and SimpleITK apply, and returns the path."""
    import SimpleITK as sitk

    turned = np.diag([*LPS, 1.0]) @ np.asarray(matrix, dtype=np.float64) @ np.diag([*LPS, 1.0])
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(turned[:3, :3].flatten().tolist())
    transform.SetTranslation(turned[:3, 3].tolist())
    with atomic(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))
    return Path(path)


def to_itk(field: Tensor, affine: np.ndarray) -> np.ndarray:
    """One field [1, d, *S] in ITK's convention: mm in LPS world, [X, Y, Z, 1, 3] float32."""
    if len(field) != 1:
        raise ValueError(f"one field at a time goes to a file, not {len(field)}")
    world = _apply(LPS[:, None] * np.asarray(affine, dtype=np.float64)[:3, :3], lift(field).double())
    return world[0].movedim(0, -1)[..., None, :].float().cpu().numpy()


def from_itk(vectors: np.ndarray, affine: np.ndarray) -> Tensor:
    """Displacements [X, Y, Z, 1, 3] or [X, Y, Z, 3] of ITK's convention -> field [1, 3, X, Y, Z] in voxels of the affine."""
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.shape[-1] != 3 or vectors.ndim not in (4, 5) or (vectors.ndim == 5 and vectors.shape[3] != 1):
        raise InputError(f"a displacement field has the shape [X, Y, Z, 1, 3], not {list(vectors.shape)}")
    world = torch.from_numpy(vectors.reshape(*vectors.shape[:3], 3)).movedim(-1, 0)[None]
    return _apply(np.linalg.inv(np.asarray(affine, dtype=np.float64)[:3, :3]) * LPS, world).float()


def write_field(path: str | Path, field: Tensor, affine: np.ndarray, like: Mapping | None = None) -> Path:
    """Writes one field [1, d, *S] as a NIfTI that ITK, ANTs and SimpleITK apply, atomically, and returns the path.

    Displacement in mm of LPS world, [X, Y, Z, 1, 3], intent vector; `like` is the meta of the fixed image, for its space codes.
    Raises InputError for another suffix than .nii or .nii.gz, and ValueError for NaN.
    """
    import nibabel as nib

    if suffix_of(path) not in (".nii", ".nii.gz"):
        raise InputError(f"{path}: a field is written as .nii.gz or .nii")
    vectors = to_itk(field, affine)
    if not np.isfinite(vectors).all():
        raise ValueError(f"{path}: the field holds NaN or infinite values and is not written")
    codes = like or {}
    code = int(codes.get("sform_code", 1) or codes.get("qform_code", 1)) or 1
    image = nib.Nifti1Image(vectors, np.asarray(affine, dtype=np.float64))
    image.header.set_intent(VECTOR_INTENT)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    image.header.set_xyzt_units("mm")
    with atomic(path) as temporary:
        nib.save(image, temporary)
    return Path(path)


def read_field(path: str | Path) -> tuple[Tensor, np.ndarray]:
    """(field [1, 3, X, Y, Z] in voxels, affine [4, 4]) of a NIfTI in ITK's convention; InputError for what is none."""
    vectors, affine, _ = read_stored(path)
    try:
        return from_itk(np.asarray(vectors, dtype=np.float32), affine), affine
    except InputError as error:
        raise InputError(f"{path}: {error}") from error

"""Displacement fields: known maps, their composition, inverse and Jacobian, and the same answer from ITK."""

import math
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from warps_toy import noise, oblique, smooth

from diffzoo.errors import InputError
from diffzoo.imaging import fields
from diffzoo.imaging.io.files import read_volume, write_volume

SHAPES = [(9, 12), (7, 8, 10)]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_displacement_changes_nothing_and_a_whole_one_rolls(shape):
    image, d = noise(2, 3, *shape), len(shape)
    assert torch.allclose(fields.warp(image, torch.zeros(2, d, *shape)), image, atol=1e-5)
    for axis in range(d):
        field = torch.zeros(2, d, *shape)
        field[:, axis] = 2
        expected = torch.roll(image, -2, 2 + axis).narrow(2 + axis, 0, shape[axis] - 2)
        assert torch.allclose(fields.warp(image, field).narrow(2 + axis, 0, shape[axis] - 2), expected, atol=1e-4)
        beyond = fields.warp(image, field, fill=-7.0).narrow(2 + axis, shape[axis] - 2, 2)
        assert (beyond == -7).all()
        edge = image.narrow(2 + axis, shape[axis] - 1, 1)
        assert torch.allclose(fields.warp(image, field).narrow(2 + axis, shape[axis] - 2, 2), edge.expand_as(beyond), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_agrees_with_monai(shape):
    from monai.networks.blocks import DVF2DDF, Warp

    image, field = noise(2, 1, *shape), noise(2, len(shape), *shape, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.allclose(fields.warp(image, field), Warp()(image, field), atol=1e-5)
        expected = DVF2DDF(6, padding_mode="border")(field)
    assert torch.allclose(fields.integrate(field, 6), expected, atol=1e-4)


def test_labels_stay_labels():
    labels = torch.randint(0, 4, (1, 1, 9, 8, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    out = fields.warp(labels, noise(1, 3, 9, 8, 7), nearest=True, fill=0)
    assert out.dtype == torch.uint8 and set(out.unique().tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("shape", SHAPES)
def test_composition_is_one_warp_after_the_other(shape):
    ramp = fields.places(shape)  # linear images are interpolated exactly, inside
    first, second = (smooth(shape, 0.4, seed) for seed in (1, 2))
    twice = fields.warp(fields.warp(ramp, first), second)
    once = fields.warp(ramp, fields.compose(first, second))
    assert torch.allclose(once, twice, atol=1e-4) and (once - ramp).abs().max() > 0.3
    shift = torch.full_like(first, 0.25)
    inside = (..., *(slice(2, -2) for _ in shape))
    assert torch.allclose(fields.compose(shift, shift)[inside], 2 * shift[inside], atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 28), (18, 20, 16)])
def test_minus_the_velocity_is_the_inverse(shape):
    velocity = smooth(shape, 1.0)
    forth, back = fields.integrate(velocity), fields.integrate(-velocity)
    assert fields.inverse_error(forth, back) < 0.04 < 0.3 < forth.norm(dim=1).mean()
    assert fields.inverse_error(velocity, -velocity) > 3 * fields.inverse_error(forth, back)
    strong = smooth(shape, 4.0)
    assert fields.folding(fields.integrate(strong)) < 0.1 * fields.folding(strong) and fields.folding(strong) > 0.02


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 3), st.integers(0, 1000))
def test_the_jacobian_of_an_affine_map_is_its_determinant(d, seed):
    matrix = torch.eye(d) + 0.6 * noise(d, d, seed=seed)
    here = fields.places([4, 6, 5][:d])
    field = torch.einsum("ij,bj...->bi...", matrix, here) - here
    found = fields.jacobian(field)
    assert torch.allclose(found, torch.linalg.det(matrix).expand_as(found), atol=1e-4)
    assert fields.folding(field) == float(torch.linalg.det(matrix) <= 0)


def test_folding_counts_voxels_of_a_mask():
    field = torch.zeros(1, 2, 10, 10)
    field[:, 0, 4] = 5.0  # a row that jumps ahead: folded behind it, stretched before it
    mask = torch.zeros(1, 1, 10, 10)
    mask[:, :, 3:6] = 1
    share = float(fields.folding(field))
    assert share == pytest.approx(0.1) and fields.folding(field, mask) == pytest.approx(share * 100 / 30)
    with pytest.raises(ValueError, match="mask is empty"):
        fields.folding(field, torch.zeros(1, 1, 10, 10))


def test_errors_and_roughness_in_closed_form():
    field = torch.zeros(2, 3, 4, 5, 6)
    field[1, 0], field[1, 2] = 3, 4
    assert torch.allclose(fields.end_point_error(field, torch.zeros_like(field)), torch.tensor([0.0, 5.0]))
    assert fields.end_point_error(field, torch.zeros_like(field), sizes=(2, 1, 0.5))[1] == pytest.approx(math.hypot(6, 2))
    here = fields.places((5, 6)) * torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)
    assert fields.roughness(here) == pytest.approx((0.25 / 2 + 0.0625 / 2) / 2)
    alternating = (-1.0) ** fields.places((6, 6))
    assert fields.roughness(alternating) > 0.9


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="different grids"):
        fields.warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(ValueError, match="2D or 3D"):
        fields.sample(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match="axis of one voxel"):
        fields.jacobian(torch.zeros(1, 3, 4, 4, 1))
    with pytest.raises(ValueError, match="at least one step"):
        fields.integrate(torch.zeros(1, 2, 4, 4), 0)


CASES = [
    ((0, 0, 0), (1, 1, 1), (1, 1, 1)),
    ((0.3, -0.2, 0.5), (0.9, 1.4, 2.0), (1, 1, 1)),
    ((-0.4, 0.25, 0.1), (1.2, 0.8, 1.7), (-1, 1, -1)),
    ((0.2, 0.3, -1.2), (2.0, 1.1, 0.7), (1, -1, 1)),
]


@pytest.mark.parametrize("angles, sizes, signs", CASES)
def test_simpleitk_applies_the_file_and_gets_the_same(tmp_path, angles, sizes, signs):
    shape, other = (14, 17, 12), (20, 15, 18)
    fixed = oblique(angles, sizes, signs, shape, (5, -7, 3))
    moving = oblique((0.1, -0.3, 0.2), (1.3, 1.6, 1.1), (-signs[0], signs[1], 1), other, (4, -6, 2))
    image = F.interpolate(noise(1, 1, 5, 5, 5), other, mode="trilinear", align_corners=True)
    field = smooth(shape, 1.5, seed=3)
    write_volume(tmp_path / "moving.nii.gz", image[0].numpy(), moving)
    path = fields.write_field(tmp_path / "field.nii.gz", field, fixed)

    read = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    assert read.GetDimension() == 3 and read.GetNumberOfComponentsPerPixel() == 3 and read.GetSize() == shape
    reference = sitk.Image(read.GetSize(), sitk.sitkFloat32)
    reference.CopyInformation(read)
    transform = sitk.DisplacementFieldTransform(read)
    scan = sitk.ReadImage(str(tmp_path / "moving.nii.gz"))
    theirs = torch.from_numpy(sitk.GetArrayFromImage(sitk.Resample(scan, reference, transform, sitk.sitkLinear, -9.0)).T.copy())
    stored = read_volume(tmp_path / "moving.nii.gz")
    ours = fields.warp_onto(stored.as_tensor()[None], stored.affine.numpy(), field, fixed, fill=-9.0)[0, 0]
    inside = (theirs > -9) & (ours > -9)
    assert ((theirs > -9) == (ours > -9)).float().mean() > 0.998  # a voxel on the very edge may fall to either side
    assert inside.float().mean() > 0.2 and torch.allclose(ours[inside], theirs[inside], atol=2e-3)
    still = fields.warp_onto(stored.as_tensor()[None], stored.affine.numpy(), 0 * field, fixed, fill=-9.0)[0, 0]
    assert (still - theirs)[inside].abs().mean() > 0.05  # the displacement matters

    back, affine = fields.read_field(path)
    assert torch.allclose(back, field, atol=1e-4) and np.allclose(affine, fixed, atol=1e-4)
    header = nib.load(path).header
    assert header.get_intent()[0] == "vector" and header["dim"].tolist()[:6] == [5, *shape, 1, 3]


@pytest.mark.parametrize("angles, sizes, signs", CASES)
def test_a_field_on_another_grid_moves_the_world_by_as_much(angles, sizes, signs):
    grid = oblique((0, 0, 0), (1.5, 1.5, 1.5), (1, 1, 1), (20, 20, 20))
    target = oblique(angles, sizes, signs, (9, 10, 8))
    start = oblique((0.1, 0.05, -0.1), (1.05, 0.95, 1.0), (1, 1, 1), (1, 1, 1), (2, -1, 3))
    matrix = np.eye(4)
    matrix[:3] += 0.1 * np.random.default_rng(0).normal(size=(3, 4))  # a linear field is interpolated exactly
    here = fields.places((20, 20, 20))
    field = fields._move(np.linalg.inv(grid) @ matrix @ grid, here) - here
    found = fields.regrid(field, grid, target, (9, 10, 8), start)
    index = fields.places((9, 10, 8))
    world = fields._move(start @ matrix @ target, index)
    assert torch.allclose(fields._move(target, index + found), world, atol=2e-3)
    assert torch.allclose(fields.regrid(field, grid, grid, (20, 20, 20)), field, atol=1e-4)


def test_a_field_of_a_slice_has_no_part_across_it(tmp_path):
    affine = oblique((0.2, 0.1, 0.4), (0.8, 1.1, 4.0), (1, -1, 1), (12, 10, 1))
    field = smooth((12, 10), 1.0)
    path = fields.write_field(tmp_path / "f.nii.gz", field, affine)
    back, _ = fields.read_field(path)
    assert torch.allclose(back[:, :2, ..., 0], field, atol=1e-4) and back[:, 2].abs().max() < 1e-4
    image = noise(1, 1, 12, 10)
    flat = fields.warp_onto(image[..., None], affine, fields.regrid(field, affine, affine, (12, 10, 1)), affine, fill=None)
    assert torch.allclose(flat[..., 0], fields.warp(image, field), atol=1e-4)


def test_bad_field_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="written as"):
        fields.write_field(tmp_path / "f.mha", torch.zeros(1, 3, 4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="NaN"):
        fields.write_field(tmp_path / "f.nii", torch.full((1, 3, 4, 4, 4), math.nan), np.eye(4))
    with pytest.raises(ValueError, match="one field at a time"):
        fields.to_itk(torch.zeros(2, 3, 4, 4, 4), np.eye(4))
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / "scalar.nii")
    with pytest.raises(InputError, match="has the shape"):
        fields.read_field(tmp_path / "scalar.nii")
    with pytest.raises(InputError, match="not a readable"):
        fields.read_field(tmp_path / "none.nii")
    assert not list(tmp_path.glob(".*"))


def moved(matrix: np.ndarray, where: torch.Tensor) -> torch.Tensor:
    """An affine map [4, 4] of places."""
    turned = torch.einsum("ij,bj...->bi...", torch.from_numpy(matrix[:3, :3]), where)
    return turned + torch.from_numpy(matrix[:3, 3]).view(1, 3, 1, 1, 1)


def test_the_way_back_undoes_a_field_and_an_alignment_on_another_grid():
    affine, theirs = np.diag([1.0, 1.5, 2.0, 1.0]), np.diag([2.0, 1.0, 1.5, 1.0])
    theirs[:3, 3] = [-3.0, 2.0, 1.0]
    start = np.array([[0.9, 0.1, 0, 2.0], [-0.1, 1.05, 0, -1.0], [0, 0, 1.1, 0.5], [0, 0, 0, 1]])
    shape, size = (24, 20, 16), (12, 22, 15)
    waves = [np.fromfunction(lambda x, y, z, a=a: np.sin((x + y + z) / 4 + a), shape) for a in range(3)]
    field = fields.regrid(torch.from_numpy(np.stack(waves))[None], affine, affine, shape, start)
    back, miss = fields.inverse_onto(field, affine, theirs, size, start)
    assert back.shape == (1, 3, *size) and miss < 0.02
    where = fields.places(size, back.double())
    there = moved(np.linalg.inv(affine) @ theirs, where + back.double())  # in the fixed image
    again = moved(np.linalg.inv(theirs) @ affine, there + fields.sample(field.double(), there))
    inside = torch.stack([(there[:, i] > 1) & (there[:, i] < n - 2) for i, n in enumerate(shape)]).all(0)
    assert inside.sum() > 500 and (again - where).norm(dim=1)[inside].max() < 0.05


def test_the_way_back_is_that_of_iterating_at_every_place(monkeypatch):
    waves = [np.fromfunction(lambda x, y, z, a=a: np.sin((x + y - z) / 2 + a), (14, 12, 10)) for a in range(3)]
    field, counts = 1.5 * torch.from_numpy(np.stack(waves))[None], []  # folds here and there, so that some places never settle
    assert 0 < fields.folding(field) < 0.5
    plain, wanted = fields.sample, fields.places((14, 12, 10), field)
    expected = wanted - plain(field, wanted)
    for _ in range(60):
        expected = wanted - plain(field, expected)
    monkeypatch.setattr(fields, "sample", lambda image, where: counts.append(where[0, 0].numel()) or plain(image, where))
    found, _ = fields.inverse_onto(field, np.eye(4), np.eye(4), (14, 12, 10), rounds=60)
    assert torch.equal(found, (expected - wanted).float()) and len(counts) == 62
    assert counts[0] == 14 * 12 * 10 > counts[-2] > 0  # it goes on where it has not settled


def test_without_a_deformation_the_way_back_is_the_alignment_turned_round():
    start, shift = np.eye(4), torch.tensor([2.0, 0.0, -1.0]).view(1, 3, 1, 1, 1)
    start[:3, 3] = shift.flatten().numpy()
    back, miss = fields.inverse_onto(shift.expand(1, 3, 8, 8, 8), np.eye(4), np.eye(4), (8, 8, 8), start)
    assert torch.allclose(back, -shift.expand_as(back)) and miss == 0


def test_itk_reads_an_affine_as_it_was_written(tmp_path):
    matrix = np.array([[0.9, 0.1, 0, 2.0], [-0.1, 1.05, 0, -1.0], [0, 0, 1.1, 0.5], [0, 0, 0, 1]])
    read = sitk.ReadTransform(str(fields.write_affine(tmp_path / "a.tfm", matrix)))
    expected = matrix @ [3.0, -4.0, 5.0, 1.0]  # RAS; ITK counts towards left and posterior
    assert np.allclose(read.TransformPoint((-3.0, 4.0, 5.0)), expected[:3] * [-1, -1, 1])

"""Pairs on the model's grid and fields back on the fixed image's own: any size, spacing and orientation, 2D, 3D and phases."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from dicom_toy import dataset, save
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from warps_toy import oblique, smooth, textured

from diffzoo.errors import InputError
from diffzoo.imaging import fields, registration
from diffzoo.imaging.io.files import write_volume
from diffzoo.tasks.register.pairs import FieldToFixed, LoadPair, all_pairs, model_grid, pair_cases, unit_levels

FIXED = oblique((0.15, -0.1, 0.2), (1.3, 0.9, 1.6), (-1, 1, 1), (28, 36, 22), (10, 5, -20))
MOVING = oblique((-0.2, 0.1, 0.05), (1.0, 1.2, 1.1), (1, 1, -1), (40, 33, 36), (10, 5, -20))


@pytest.fixture
def pair(tmp_path):
    """A case whose fixed image is the moving one under a known field, on another grid; and that field [1, 3, 28, 36, 22]."""
    moving = textured((40, 33, 36))
    field = fields.integrate(smooth((28, 36, 22), 2.0, seed=5, knots=2))
    fixed = fields.warp_onto(moving, MOVING, field, FIXED)
    regions = (moving > 250).float() + (moving > 350).float()
    write_volume(tmp_path / "m.nii.gz", moving[0].numpy(), MOVING)
    write_volume(tmp_path / "f.nii.gz", fixed[0].numpy(), FIXED)
    write_volume(tmp_path / "m_label.nii.gz", regions[0].numpy(), MOVING, dtype="uint8")
    case = {"image": tmp_path / "f.nii.gz", "moving": tmp_path / "m.nii.gz", "moving_label": tmp_path / "m_label.nii.gz"}
    return {key: str(path) for key, path in case.items()} | {"case": "m_to_f"}, field


def test_the_fixed_image_gives_the_grid_and_both_are_on_it(pair):
    item = LoadPair(grid_mm=1.5, size=(32, 32, 32))(pair[0])
    for key in ("image", "moving", "moving_label"):
        assert item[key].shape == (1, 32, 32, 32) and item[key].dtype == torch.float32
    grid = item["image"].affine.numpy()
    assert np.allclose(np.linalg.norm(grid[:3, :3], axis=0), 1.5) and np.allclose(
        grid[:3, :3] / 1.5, FIXED[:3, :3] / (-1.3, 0.9, 1.6)
    )
    assert np.allclose(registration.middle(item["image"]), (10, 5, -20), atol=1e-3)
    assert 0 <= item["image"].min() < 0.1 and item["image"].max() == 1
    # the moving image at a place of the world, wherever its own grid has it
    world = grid @ [16, 20, 12, 1]
    there = fields.sample(
        item["moving_scan"][None].as_tensor(), torch.as_tensor(np.linalg.solve(MOVING, world)[:3]).view(1, 3, 1, 1, 1).float()
    )
    low, high = item["levels"].tolist()
    assert item["moving"][0, 16, 20, 12] == pytest.approx((float(there) - low) / (high - low), abs=0.06)
    assert set(item["moving_label"].unique().tolist()) == {0, 1, 2} and "label" not in item
    assert json.loads(item["acquisition"])["words"] == "m onto f" and torch.equal(item["alignment"], torch.eye(4).double())


def test_the_true_field_of_the_grid_comes_back_and_makes_the_fixed_image(pair, tmp_path):
    case, truth = pair
    item = LoadPair(grid_mm=1.0, size=(48, 44, 48))(case)
    grid = item["image"].affine.numpy()
    on_grid = fields.regrid(truth, FIXED, grid, (48, 44, 48))
    out = FieldToFixed()(
        item | {"field": on_grid[0], "generated": item["image"], "path": torch.cat([0 * on_grid[0], on_grid[0]])}
    )
    fixed = item["fixed_scan"]
    assert out["warped"].shape == (1, 28, 36, 22) and np.allclose(out["warped"].affine, FIXED, atol=1e-4)
    tissue = fixed > 50
    assert (out["warped"] - fixed)[tissue].abs().mean() < 0.01 * fixed[tissue].mean()
    assert fields.end_point_error(out["field"][None].as_tensor(), truth, tissue[None].as_tensor()) < 0.1
    assert out["label_warped"].dtype == torch.uint8 and set(out["label_warped"].unique().tolist()) == {0, 1, 2}
    inside = out["label_warped"][0] > 0
    assert ((fixed[0] > 245) & inside).sum() > 0.95 * inside.sum()
    assert out["path"].shape == (2, 28, 36, 22) and torch.equal(out["path"][1], out["warped"][0])
    assert not torch.allclose(out["path"][0], out["path"][1], atol=10)
    high = float(item["levels"][1])
    plain = [(x - x.mean()) / x.std() for x in (out["generated"][tissue], fixed[tissue])]
    assert (plain[0] * plain[1]).mean() > 0.9 and out["generated"].max() <= high + 1e-3

    path = fields.write_field(tmp_path / "field.nii.gz", out["field"][None].as_tensor(), FIXED)
    scan, reference = (sitk.ReadImage(case[key], sitk.sitkFloat32) for key in ("moving", "image"))
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    theirs = sitk.GetArrayFromImage(sitk.Resample(scan, reference, transform, sitk.sitkLinear, 0.0)).T
    assert (
        np.abs(theirs - out["warped"][0].numpy()).mean() < 0.05
        and np.abs(theirs - out["warped"][0].numpy())[theirs > 0].max() < 2
    )


def test_an_alignment_is_undone_on_the_way_in_and_part_of_the_field(pair, tmp_path):
    case, _ = pair
    away = np.array(nib.load(case["moving"]).affine)
    away[:3, 3] += (60, -35, 80)
    image = np.asarray(nib.load(case["moving"]).dataobj)
    write_volume(tmp_path / "away.nii.gz", image, away)
    near = LoadPair(1.5, (32, 32, 32), registration.centre)(case)
    far = LoadPair(1.5, (32, 32, 32), registration.centre)({"image": case["image"], "moving": str(tmp_path / "away.nii.gz")})
    assert torch.allclose(near["moving"], far["moving"], atol=1e-3)
    still = torch.zeros(3, 32, 32, 32)
    one, two = (FieldToFixed()(item | {"field": still}) for item in (near, far))
    assert torch.allclose(one["warped"], two["warped"], atol=0.1)
    assert np.allclose(fields.to_itk(two["field"][None].as_tensor(), FIXED)[5, 5, 5, 0], (-60, 35, 80), atol=0.05)


def test_slices_make_a_2d_pair(tmp_path):
    affine = oblique((0.1, 0.2, 1.2), (0.9, 1.1, 6.0), (1, 1, -1), (40, 1, 36))[:, [0, 2, 1, 3]]
    moving = textured((40, 36))
    field = smooth((40, 36), 1.5, seed=2, knots=2)
    fixed = fields.warp(moving, field)
    for name, image in (("m", moving), ("f", fixed)):
        write_volume(tmp_path / f"{name}.nii.gz", image[0, 0, :, None].numpy(), affine[:, [0, 2, 1, 3]])
    case = {"image": str(tmp_path / "f.nii.gz"), "moving": str(tmp_path / "m.nii.gz")}
    item = LoadPair(None, (40, 36), registration.centre)(case)
    stored = tuple(item["fixed_scan"].shape[1:])
    assert stored == (40, 1, 36) and item["image"].shape in ((1, 40, 36), (1, 36, 40))
    out = FieldToFixed()(item | {"field": torch.zeros(2, *item["image"].shape[1:])})
    assert torch.allclose(out["warped"], item["moving_scan"], atol=0.1) and out["field"].shape == (3, *stored)
    on_grid = fields.regrid(field, affine, affine, (40, 36, 1))
    turned = item["image"].affine.numpy()
    mapped = fields.regrid(on_grid, affine, turned, (*item["image"].shape[1:], 1))[:, :2, ..., 0]
    out = FieldToFixed()(item | {"field": mapped[0]})
    assert (out["warped"] - item["fixed_scan"]).abs().mean() < 0.5
    with pytest.raises(InputError, match="single slices"):
        LoadPair(None, (40, 36))({"image": np.random.rand(20, 20, 20), "moving": np.random.rand(20, 20, 20)})


def test_two_phases_of_one_file_are_a_pair(tmp_path):
    rng = np.random.default_rng(0)
    cine, label = rng.random((20, 18, 9, 3)).astype(np.float32), rng.integers(0, 2, (20, 18, 9, 3)).astype(np.uint8)
    for name, array in (("cine", cine), ("label", label)):
        nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 8, 1])), tmp_path / f"{name}.nii.gz")
    case = {"image": str(tmp_path / "cine.nii.gz"), "label": str(tmp_path / "label.nii.gz"), "case": "cine"}
    item = LoadPair(None, phases=(0, 2))(case)
    assert np.allclose(item["moving_scan"][0], cine[..., 0]) and np.allclose(item["fixed_scan"][0], cine[..., 2])
    assert np.array_equal(item["moving_label"][0], label[..., 0]) and np.array_equal(item["label"][0], label[..., 2])
    assert item["image"].shape == (1, 20, 18, 9)
    assert pair_cases([case]) == [case]
    with pytest.raises(InputError, match="frames 0 to 2, not 5"):
        LoadPair(None, phases=(0, 5))(case)


def test_it_goes_through_a_loader_and_takes_folders_and_arrays(tmp_path, pair):
    slices = np.random.default_rng(0).integers(0, 900, (12, 24, 20)).astype(np.uint16)
    save(tmp_path / "series", *[dataset(k, pixels=plane) for k, plane in enumerate(slices)])
    case = {"image": str(tmp_path / "series"), "moving": pair[0]["moving"], "case": "x"}
    item = decollate_batch(next(iter(DataLoader(Dataset([case], LoadPair(1.5, (24, 24, 24))), batch_size=1))))[0]
    out = FieldToFixed()(item | {"field": torch.zeros(3, 24, 24, 24)})
    assert sorted(out["warped"].shape[1:]) == [12, 20, 24]
    array = textured((16, 16, 16))[0, 0]
    item = LoadPair(None)({"image": array, "moving": array.numpy().copy(), "label": array > 300})
    assert torch.equal(item["image"], item["moving"]) and item["image_path"] == "array"
    assert torch.equal(item["label"][0].as_tensor() > 0, array > 300)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(3, 60)] * 3),
    st.tuples(*[st.floats(0.4, 4.0)] * 3),
    st.floats(0.5, 3.0),
    st.tuples(*[st.integers(8, 48)] * 3),
)
def test_grids_share_their_middle(shape, sizes, grid_mm, size):
    image = MetaTensor(torch.zeros(1, *shape), affine=torch.as_tensor(oblique((0.1, 0.4, -0.2), sizes, (1, -1, 1), shape)))
    found = model_grid(image, grid_mm, size)
    assert found.shape[1:] == size and np.allclose(registration.middle(found), registration.middle(image), atol=grid_mm * 0.87)
    own = model_grid(image, None, size)
    first = np.linalg.solve(image.affine.numpy(), own.affine.numpy())[:3, 3]
    assert np.allclose(first, np.rint(first), atol=1e-4)  # no voxel is interpolated
    assert model_grid(image, None, None).shape == image.shape


def test_notes_tell_of_what_may_be_wrong(pair):
    item = LoadPair(1.0, (16, 40, 40), spacing_range=(0.8, 1.5))(pair[0])
    assert "larger than the model's field of 16 x 40 x 40 mm" in item["notes"] and "fixed image: spacing" in item["notes"]
    assert LoadPair(1.5, (32, 32, 32))(pair[0])["notes"] == ""


def test_levels_are_robust_and_never_empty():
    image = torch.rand(1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    image[0, 0, 0, 0] = 1e6
    low, high = unit_levels(MetaTensor(image))
    assert low == pytest.approx(0, abs=0.01) and high == pytest.approx(1, abs=0.01)
    sparse = torch.zeros(1, 20, 20, 20)
    sparse[0, 3, 3, 3] = 5
    assert unit_levels(MetaTensor(sparse)) == (0, 5)


def test_lists_of_images_become_pairs():
    cases = [{"image": f"{n}.nii.gz", "case": n} for n in "abcd"]
    made = pair_cases(cases)
    assert [(c["moving"], c["image"], c["case"]) for c in made] == [
        ("a.nii.gz", "b.nii.gz", "a_to_b"),
        ("c.nii.gz", "d.nii.gz", "c_to_d"),
    ]
    assert pair_cases(made) == made
    with pytest.raises(InputError, match=r"c\.nii\.gz: has no partner"):
        pair_cases(cases[:3])


def test_what_is_no_pair_is_refused(pair, tmp_path):
    case, _ = pair
    with pytest.raises(InputError, match="moving image is missing"):
        LoadPair()({"image": case["image"]})
    with pytest.raises(InputError, match="label of the fixed image has shape"):
        LoadPair()(case | {"label": case["moving_label"]})
    moved = nib.load(case["moving_label"])
    nib.save(nib.Nifti1Image(np.asarray(moved.dataobj), moved.affine + np.eye(4)[:, [3, 0, 1, 2]] * 5), tmp_path / "off.nii.gz")
    with pytest.raises(InputError, match="affine of the label of the moving image"):
        LoadPair(moving_label=str(tmp_path / "off.nii.gz"))({k: v for k, v in case.items() if k != "moving_label"})
    for options, words in (({"grid_mm": 0}, "not a positive voxel size"), ({"size": (4, 32, 32)}, "is no grid")):
        with pytest.raises(InputError, match=words):
            LoadPair(**options)
    item = LoadPair(1.5, (32, 32, 32))(case)
    with pytest.raises(ValueError, match="not one on the grid"):
        FieldToFixed()(item | {"field": torch.zeros(3, 8, 8, 8)})


def test_an_evaluation_takes_every_ordered_pair_or_some_of_them_by_seed():
    names = ["a", "b", "c", "d"]
    cases = [{"image": f"{n}.nii", "label": f"{n}_label.nii", "case": n, "subject": n.upper()} for n in names]
    made = all_pairs(cases)
    assert {case["case"] for case in made} == {f"{m}_to_{f}" for m in names for f in names if m != f} and len(made) == 12
    one = next(case for case in made if case["case"] == "c_to_a")
    files = {"image": "a.nii", "moving": "c.nii", "label": "a_label.nii", "moving_label": "c_label.nii"}
    assert one == files | {"case": "c_to_a", "subject": "A", "moving_subject": "C"}
    few = all_pairs(cases, pairs=5, seed=1)
    assert len(few) == 5 and all(case in made for case in few) and few == all_pairs(cases, pairs=5, seed=1)
    assert few != all_pairs(cases, pairs=5, seed=2) and all_pairs(cases, pairs=50) == made
    pair = {"image": "f.nii", "moving": "m.nii", "case": "own"}
    assert all_pairs([pair]) == [pair | {"subject": "own"}]

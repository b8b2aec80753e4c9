"""What a registration leaves: fields that ITK applies, figures that can be checked by hand, a picture and a moving one."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pairs_toy import AFFINE, SHAPE, STATS, inferer, pair
from PIL import Image
from report_toy import run

from diffzoo.errors import InputError
from diffzoo.imaging.phantoms.volumes import parts
from diffzoo.tasks.register.report import RegistrationReport
from diffzoo.tasks.register.table import RegistrationTable

VOLUMES = ["warped", "field", "label_warped", "path"]


def report(folder, copy, **more):
    settings = {"parameters": {"eta": 1.0}, "methods": ("network",)} | more
    return RegistrationReport(str(copy.root), str(folder), str(copy.weights), inferer(), VOLUMES, **settings)


def test_a_shift_is_told_as_it_is(tmp_path, copy):
    item = pair(tmp_path, shift=2.0)
    [case] = run(report(tmp_path / "out", copy), ({}, item))["cases"]
    assert case["displacement_mm"] == {"mean": 2.0, "greatest": 2.0}
    assert case["jacobian"] == {"least": 1.0, "p01": 1.0, "p99": 1.0, "greatest": 1.0, "folding": 0.0}
    assert case["ncc_before"] == 0.5 and case["ncc_after"] == 0.75 and case["path_ncc"] == STATS["path_ncc"]
    truth, moved = parts(SHAPE, AFFINE, 0), np.zeros(SHAPE, np.uint8)
    moved[:-2] = parts(SHAPE, AFFINE, 1)[2:]
    both = [2 * ((truth == k) & (moved == k)).sum() / ((truth == k).sum() + (moved == k).sum()) for k in (1, 2)]
    assert case["metrics"]["network"]["dice"] == pytest.approx(np.mean(both), abs=1e-6)
    written = nib.load(tmp_path / "out" / "a_to_b_label_warped.nii.gz")
    assert written.get_data_dtype() == np.uint8 and np.array_equal(np.asarray(written.dataobj), moved)


def test_itk_applies_the_field(tmp_path, copy):
    item = pair(tmp_path, shift=1.5)
    run(report(tmp_path / "out", copy), ({}, item))
    fixed, moving = (sitk.ReadImage(str(tmp_path / f"a_to_b_{key}.nii.gz"), sitk.sitkFloat64) for key in ("image", "moving"))
    field = sitk.ReadImage(str(tmp_path / "out" / "a_to_b_field.nii.gz"), sitk.sitkVectorFloat64)
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field)))
    ours = nib.load(tmp_path / "out" / "a_to_b_warped.nii.gz").get_fdata().T
    inside = np.s_[2:-2, 2:-2, 2:-4]
    assert np.abs(theirs - ours)[inside].max() < 1e-2


def test_the_path_is_a_4d_file_and_a_moving_picture(tmp_path, copy):
    run(report(tmp_path / "out", copy), ({}, pair(tmp_path, shift=2.0)))
    path = nib.load(tmp_path / "out" / "a_to_b_path.nii.gz")
    assert path.shape == (*SHAPE, 3) and np.allclose(path.affine, AFFINE)
    assert np.allclose(path.get_fdata()[..., 2], nib.load(tmp_path / "out" / "a_to_b_warped.nii.gz").get_fdata(), atol=1e-3)
    with Image.open(tmp_path / "out" / "a_to_b_path.png") as picture:
        assert picture.n_frames >= 3 and picture.size[0] > picture.size[1]


def test_the_table_has_every_method_and_its_spread(tmp_path, copy):
    made = report(tmp_path / "out", copy, methods=["network", "still"])
    items = [pair(tmp_path, f"p{k}", seed=k + 1, shift=0.0) for k in range(3)]
    for item in items:
        item["field_still"], item["seconds_still"] = item["field"].as_tensor(), 0.5
    table = RegistrationTable(made)
    run(made, *(({}, item) for item in items), table=table)
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    dice = [case["metrics"]["network"]["dice"] for case in told["cases"]]
    assert told["pairs"] == 3 and told["mean"]["network"]["dice"] == pytest.approx(np.mean(dice))
    assert told["methods"]["network"]["dice"]["least"] == min(dice) and told["above"] == {"still": 0.0}
    assert told["mean"]["still"]["seconds"] == 0.5 and told["path_rises"] == 1.0 and told["inverse_error_voxels"] == 0.125
    assert (tmp_path / "out" / "metrics.png").stat().st_size > 1000


def test_a_pair_without_labels_cannot_be_judged(tmp_path, copy):
    made, item = report(tmp_path / "out", copy), pair(tmp_path)
    item.pop("moving_label_scan")
    with pytest.raises(InputError, match="no labels to compare"):
        run(made, ({}, item), table=RegistrationTable(made))


def test_itk_goes_back_by_the_inverse_field_and_applies_the_affine(tmp_path, copy):
    item = pair(tmp_path, shift=1.5)
    told = run(report(tmp_path / "out", copy), ({}, item))
    out = tmp_path / "out"
    assert told["cases"][0]["beside"] == ["a_to_b_field_inverse.nii.gz", "a_to_b_affine.tfm"]
    assert told["cases"][0]["inverse_field_error_mm"] < 0.02
    forth, back = (
        sitk.DisplacementFieldTransform(sitk.ReadImage(str(out / f"a_to_b_{name}.nii.gz"), sitk.sitkVectorFloat64))
        for name in ("field", "field_inverse")
    )
    moving = sitk.ReadImage(str(tmp_path / "a_to_b_moving.nii.gz"))
    for index in ((6, 6, 6), (8, 5, 7), (7, 9, 8)):
        point = moving.TransformContinuousIndexToPhysicalPoint([float(k) for k in index])
        assert np.allclose(forth.TransformPoint(back.TransformPoint(point)), point, atol=0.05)
    affine, world = sitk.ReadTransform(str(out / "a_to_b_affine.tfm")), np.array([3.0, -4.0, 5.0, 1.0])
    expected = np.asarray(item["alignment"]) @ world
    lps = np.array([-1.0, -1.0, 1.0])
    assert np.allclose(affine.TransformPoint((lps * world[:3]).tolist()), lps * expected[:3])

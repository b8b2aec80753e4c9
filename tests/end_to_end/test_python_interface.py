"""`diffzoo.load(name)` from a program: files as the command takes them, arrays and tensors as they are."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import diffzoo
from diffzoo.errors import InputError


@pytest.fixture(scope="module")
def model():
    return diffzoo.load("score_mri")


def test_run_gives_the_files_of_the_command(model, done, scan, tmp_path):
    [record] = model.run(scan, tmp_path / "out", device="cpu", steps=3, seed=7)
    assert record["case"] == "head" and record["metrics"]["recon"]["psnr"] > 10
    for name in record["outputs"]:
        here, there = nib.load(tmp_path / "out" / name).get_fdata(), nib.load(done[1] / name).get_fdata()
        assert np.abs(here - there).max() <= 1e-4 * there.max()  # another number of threads may round otherwise


@pytest.mark.parametrize("shape", [(40, 36), (40, 36, 3), (37, 29, 1)], ids=str)
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, lambda x: x.astype(np.float64), lambda x: x.astype(np.int16)])
def test_predict_keeps_the_shape_and_the_units(model, volume, shape, kind):
    image = kind(volume((*shape[:2], shape[2] if len(shape) > 2 else 1)).reshape(shape))
    before = image.clone() if isinstance(image, torch.Tensor) else image.copy()
    found = model.predict(image, spacing=1, device="cpu", steps=2)
    assert set(found) == {"recon", "zero_filled"}
    for volume_ in found.values():
        assert isinstance(volume_, type(image)) and tuple(volume_.shape) == shape
        assert torch.isfinite(torch.as_tensor(volume_)).all()
        assert 0.3 < float(volume_.max()) / float(image.max()) < 2
    assert (image == before).all()


def test_predict_with_samples_and_some_slices(model, volume):
    found = model.predict(volume((40, 36, 4)), spacing=1, device="cpu", steps=2, samples=2, slices="1:3")
    assert {key: tuple(value.shape) for key, value in found.items()} == dict.fromkeys(
        ("recon", "zero_filled", "std"), (40, 36, 2)
    )


def test_predict_gives_what_run_writes(model, volume, nifti, tmp_path):
    image = volume((40, 36, 2))
    model.run(nifti(image), tmp_path / "out", device="cpu", steps=2)
    written = nib.load(tmp_path / "out" / "scan_recon.nii.gz").get_fdata()
    assert np.abs(model.predict(image, spacing=1, device="cpu", steps=2)["recon"] - written).max() <= 1e-5 * written.max()


BAD = {
    "4D": (lambda a: a[None], {}, "not of shape"),
    "NaN": (lambda a: a * np.nan, {}, "NaN"),
    "constant": (lambda a: 0 * a, {}, "constant"),
    "unknown parameter": (lambda a: a, {"stepz": 3}, "did you mean steps"),
    "bad value": (lambda a: a, {"steps": "many"}, "whole number"),
}


@pytest.mark.parametrize("kind", BAD)
def test_predict_refuses(model, volume, kind):
    change, parameters, words = BAD[kind]
    with pytest.raises(InputError, match=words):
        model.predict(change(volume((40, 36, 2))), spacing=1, device="cpu", **parameters)


def test_predict_sends_a_path_to_run_and_takes_one_image(model, volume, nifti):
    image = volume((40, 36, 1))
    with pytest.raises(InputError, match="give it to run"):
        model.predict(nifti(image))
    with pytest.raises(InputError, match="give it to run"):
        model.predict(moving=nifti(image), fixed=image)
    for twice in ({}, {"image": image, "fixed": image}, {"image": image, "moving": image}, {"fixed": image}):
        with pytest.raises(InputError, match="takes one image; for a registration, moving=ARRAY and fixed=ARRAY"):
            model.predict(**twice)
    with pytest.raises(InputError, match=r"not list: use numpy\.asarray"):
        model.predict([[1.0]], spacing=1)


def test_predict_refuses_an_image_whose_voxels_are_not_known(model, volume):
    image = volume((40, 36, 1))
    with pytest.raises(InputError, match="how large its voxels are and how they lie is not known: give spacing=MM"):
        model.predict(image)
    with pytest.raises(InputError, match="not both"):
        model.predict(image, spacing=1, affine=np.eye(4))
    for spacing in (0, -1, (1, 2, 3, 4), (1, 2), np.nan):
        with pytest.raises(InputError, match="is no size in mm"):
            model.predict(image, spacing=spacing)
    for affine in (np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(InputError, match="affine is no finite, invertible matrix"):
            model.predict(image, affine=affine)


def test_outputs_are_of_the_type_that_came_and_lie_where_the_image_lay(model, volume):
    affine = np.array([[0, 0, 1.1, 4], [-0.9, 0, 0, 5], [0, 1.0, 0, 6], [0, 0, 0, 1]])
    array = volume((40, 36, 3))
    options = {"device": "cpu", "steps": 1}
    plain = model.predict(array, affine=affine, **options)["recon"]
    tensor = model.predict(torch.as_tensor(array), affine=torch.as_tensor(affine), **options)["recon"]
    own = model.predict(MetaTensor(torch.as_tensor(array), affine=affine), **options)["recon"]
    assert type(plain) is np.ndarray and type(tensor) is torch.Tensor and type(own) is MetaTensor
    assert np.array_equal(plain, tensor.numpy()) and np.array_equal(plain, own.numpy()) and np.allclose(own.affine, affine)
    assert not np.array_equal(plain, model.predict(array, spacing=1, **options)["recon"])  # other slices: an affine tells them


def test_load_refuses_an_unknown_name():
    with pytest.raises(InputError, match="did you mean score_mri"):
        diffzoo.load("scoremri")

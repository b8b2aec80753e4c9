"""Limited-angle CT by the command: volumes, measured sinograms, DICOM, and what is refused."""

import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from anatomy import anatomy

from diffzoo.imaging.io.sinogram import Sinogram, write_sinogram
from diffzoo.imaging.tomography import WATER, attenuation_of
from diffzoo.operators.beams import ParallelBeam, arc
from diffzoo.operators.radon import Radon

RUN = ("run", "dolce", "--set", "steps=2", "--device", "cpu")


def ct(shape):
    """CT-like numbers in HU."""
    return (1.4 * anatomy(shape) - 1000).astype(np.float32)


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_a_volume_gives_hu_on_its_grid_a_picture_and_a_report(command, nifti, tmp_path):
    affine = np.array([[-0.9, 0, 0, 20.0], [0, 0.9, 0.2, -7], [0, -0.2, 3.0, 5], [0, 0, 0, 1]])
    path, out = nifti(ct((42, 37, 3)), affine), tmp_path / "out"
    answer = command(*RUN, "-i", path, "-o", out, "--set", "arc=120", "--set", "samples=2")
    assert answer.code == 0, answer.err
    [case] = report(out)["cases"]
    assert case["acquisition"]["arc"] == 120 and case["acquisition"]["dose"] == 1e6
    assert case["metrics"]["recon"]["psnr"] > case["metrics"]["fbp"]["psnr"]
    assert case["figures"]["missing_wedge"] > 0
    for name in ("recon", "fbp", "std"):
        image = nib.load(out / f"scan_{name}.nii.gz")
        assert image.shape == (42, 37, 3) and np.allclose(image.affine, affine, atol=1e-4)
        if name != "std":
            assert image.get_fdata().min() >= -1000 and image.get_fdata().max() <= 2000
    assert (out / "preview.png").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_a_measured_sinogram_gives_an_image_turned_to_its_first_angle(command, tmp_path, kind):
    beam = ParallelBeam(arc(100, 100, 20), 45, 1.5)
    op = Radon(beam, (45, 45), (1.5, 1.5))
    x = op.field_of_view * attenuation_of(torch.from_numpy(ct((45, 45, 2)))).movedim(-1, 0)[:, None]
    path, out = tmp_path / f"scan.{kind}", tmp_path / "out"
    write_sinogram(path, Sinogram(WATER * op.A(x)[:, 0], beam.angles, detector_spacing=1.5, slice_spacing=4.0))
    answer = command(*RUN, "-i", path, "-o", out)
    assert answer.code == 0, answer.err
    [case] = report(out)["cases"]
    assert case["acquisition"]["projections"] == "measured" and case["acquisition"]["arc"] == pytest.approx(100, abs=0.1)
    assert "metrics" not in case and any("come from the file" in text for text in case["warnings"])
    image = nib.load(out / "scan_recon.nii.gz")
    turned = [[math.cos(math.radians(20)), -math.sin(math.radians(20))], [math.sin(math.radians(20)), math.cos(math.radians(20))]]
    assert image.shape == (45, 45, 2) and np.allclose(image.affine[:2, :2], 1.5 * np.array(turned), atol=1e-4)
    assert image.affine[2, 2] == pytest.approx(4.0)
    inside = image.get_fdata()[10:-10, 10:-10]
    assert np.isfinite(inside).all() and np.ptp(inside) > 300


def test_views_without_angles_are_spread_over_the_arc_that_is_set(command, tmp_path):
    op = Radon(ParallelBeam(arc(90, 60), 33), (33, 33))
    y = WATER * op.A(op.field_of_view * attenuation_of(torch.from_numpy(ct((33, 33, 1)))).movedim(-1, 0)[:, None])[0, 0]
    np.save(tmp_path / "bare.npy", y.numpy())
    answer = command(*RUN, "-i", tmp_path / "bare.npy", "-o", tmp_path / "out", "--set", "arc=90")
    assert answer.code == 0, answer.err
    [case] = report(tmp_path / "out")["cases"]
    assert case["acquisition"]["arc"] == pytest.approx(90, abs=0.1) and case["acquisition"]["views"] == 60


REFUSED = {
    "an MR volume": (lambda folder: volume_at(folder, anatomy((40, 36, 2))), "not CT in Hounsfield units"),
    "slices too small": (lambda folder: volume_at(folder, ct((12, 12, 2))), "too small to project"),
    "four dimensions": (lambda folder: volume_at(folder, np.stack([ct((20, 20, 2))] * 2, -1)), "dimensions"),
    "NaN": (lambda folder: volume_at(folder, np.full((20, 20, 2), np.nan, np.float32)), "NaN"),
    "a sinogram of counts": (lambda folder: array_at(folder, 1e5 + np.arange(2400.0).reshape(60, 40)), "scan.npy"),
    "an array of words": (lambda folder: array_at(folder, np.array(["a", "b"])), "scan.npy"),
    "a cut file": (lambda folder: cut_at(folder), "scan.npy"),
}


def volume_at(folder, array):
    path = folder / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), path)
    return path


def array_at(folder, array):
    np.save(folder / "scan.npy", array)
    return folder / "scan.npy"


def cut_at(folder):
    path = array_at(folder, np.ones((60, 40)))
    path.write_bytes(path.read_bytes()[:-500])
    return path


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_one_line_and_leaves_nothing(command, tmp_path, what):
    make, words = REFUSED[what]
    answer = command(*RUN, "-i", make(tmp_path), "-o", tmp_path / "out")
    assert answer.code == 2 and words in answer.complaint
    assert not list(tmp_path.glob("out/*"))


SETTINGS = {
    "arc=0": "'arc' takes 60 to 120, not 0",
    "arc=270": "takes 60 to 120",
    "dose=-5": "takes 1000 to 1e+12",
    "data_step=prox": "did you mean proximal",
    "lam=0": "lam > 0",
    "sampler=ddpm": "did you mean ddim",
    "steps=0": "takes 1 to 2000, not 0",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_bad_settings_are_one_line(command, nifti, tmp_path, setting):
    answer = command("run", "dolce", "-i", nifti(ct((24, 24, 1))), "-o", tmp_path / "out", "--set", setting, "--device", "cpu")
    assert answer.code == 2 and SETTINGS[setting] in answer.complaint

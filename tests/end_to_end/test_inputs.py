"""Every kind of input that a run takes or refuses, and what it leaves behind; in this process, through the same entry point."""

import csv
import json

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch

from diffzoo.imaging.io.kspace import write_simulated
from diffzoo.operators.masks import make_mask

RUN = ("run", "score_mri", "--device", "cpu", "--set", "steps=2")


def state(folder):
    """Files below a folder with their bytes, hidden ones too."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def refused(command, tmp_path, out):
    """refused(words, ...) runs, asserts code 2, one line, and an untouched disk, and returns that line."""

    def run(*words):
        before = state(tmp_path)
        answer = command(*RUN, *words)
        assert answer.code == 2, answer.err
        assert state(tmp_path) == before and (out.exists() == any(out.name in p.parts for p in before))
        return answer.complaint

    return run


def kspace_file(path, volume, coils=3, masked=True, slices=2, **more):
    image = np.moveaxis(volume((48, 40, slices)), 2, 0) / 900
    mask = make_mask("gaussian1d", (48, 40), 3, 0.2, torch.Generator().manual_seed(1)) if masked else None
    write_simulated(path, image, coils=coils, mask=mask, **more)
    return path


# What works


def test_dicom_folder(command, head, tmp_path, out):
    folder = write_series(tmp_path / "series", np.asarray(head.dataobj)[..., :2], spacing=(0.9, 1.1, 4.0))
    assert command(*RUN, "-i", folder, "-o", out).code == 0
    from diffzoo.imaging.io.files import read_volume

    given, made = read_volume(folder), nib.load(out / "series_recon.nii.gz")
    assert made.shape == tuple(given.shape[1:]) and np.allclose(made.affine, given.affine.numpy(), atol=1e-4)
    [case] = report(out)["cases"]
    assert case["spacing_mm"] == [0.9, 1.1, 4.0] and case["metrics"]["recon"]["psnr"] > 15
    assert "Secret" not in "".join(map(str, state(out))) and b"Secret" not in b"".join(state(out).values())


def write_series(folder, array, spacing):
    """A DICOM MR series of a magnitude volume [columns, rows, slices]."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir(parents=True)
    series, stored = generate_uid(), np.round(1000 * array / array.max()).astype(np.uint16)
    for k in range(array.shape[2]):
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = pydicom.Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.SeriesInstanceUID = (
            MRImageStorage,
            meta.MediaStorageSOPInstanceUID,
            series,
        )
        slice_.PatientName, slice_.Modality, slice_.InstanceNumber = "Secret^Person", "MR", k + 1
        slice_.Columns, slice_.Rows = array.shape[:2]
        slice_.PixelSpacing, slice_.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-80, -100, spacing[2] * k]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.PixelRepresentation = 1, "MONOCHROME2", 0
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelData = stored[:, :, k].T.tobytes()
        slice_.save_as(folder / f"slice{k}.dcm", enforce_file_format=True)
    return folder


def test_measured_multi_coil_kspace(command, volume, tmp_path, out):
    path = kspace_file(tmp_path / "coils.h5", volume, noise_sd=0.005, spacing=(4.0, 0.9, 1.1))
    answer = command(*RUN, "-i", path, "-o", out)
    assert answer.code == 0, answer.err
    [case] = report(out)["cases"]
    assert case["acquisition"]["undersampling"] == "measured" and "metrics" not in case and case["spacing_mm"] == [0.9, 1.1, 4.0]
    assert any("come from the file" in text for text in case["warnings"])
    made = nib.load(out / "coils_recon.nii.gz")
    assert made.shape == (48, 40, 2) and np.isfinite(made.get_fdata()).all()
    assert np.corrcoef(made.get_fdata().ravel(), volume((48, 40, 2)).ravel())[0, 1] > 0.8


def test_fully_sampled_kspace_is_undersampled_and_measured_against_itself(command, volume, tmp_path, out):
    path = kspace_file(tmp_path / "full.hdf5", volume, masked=False)
    assert command(*RUN, "-i", path, "-o", out, "--set", "coils=ssos", "--set", "center_fraction=0.2").code == 0
    [case] = report(out)["cases"]
    assert case["acquisition"]["undersampling"] == "retrospective" and case["metrics"]["recon"]["psnr"] > 15
    assert any("voxel size" in text for text in case["warnings"])


def test_samples_give_a_map_of_the_standard_deviation_that_the_seed_decides(command, volume, tmp_path, out):
    path = kspace_file(tmp_path / "coils.h5", volume)
    for seed, folder in ((1, out), (1, tmp_path / "again"), (2, tmp_path / "other")):
        assert command(*RUN, "-i", path, "-o", folder, "--set", "samples=2", "--seed", seed).code == 0
    first, again, other = (
        {k: nib.load(f / f"coils_{k}.nii.gz").get_fdata() for k in ("recon", "std")}
        for f in (out, tmp_path / "again", tmp_path / "other")
    )
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert (first["std"] >= 0).all() and first["std"].max() > 0
    assert not np.array_equal(first["std"], other["std"])
    assert report(out)["cases"][0]["outputs"] == ["coils_recon.nii.gz", "coils_zero_filled.nii.gz", "coils_std.nii.gz"]


@pytest.mark.parametrize("shape", [(40, 36), (40, 36, 1), (40, 36, 1, 1)], ids=["2D", "one slice", "4D of one volume"])
def test_one_slice_works(command, nifti, volume, out, shape):
    path = nifti(volume((40, 36, 1)).reshape(shape))
    assert command(*RUN, "-i", path, "-o", out).code == 0
    assert nib.load(out / "scan_recon.nii.gz").shape == (40, 36, 1)


def test_slices_of_air_are_no_error(command, nifti, volume, out):
    array = volume((40, 36, 3))
    array[..., 0] = 0
    words = ("-i", nifti(array), "-o", out, "--set", "slices=0", "--set", "samples=2")
    assert command(*RUN, *words).code == 0
    assert np.isfinite(nib.load(out / "scan_recon.nii.gz").get_fdata()).all()


def test_missing_affine_works_with_a_warning(command, volume, tmp_path, out):
    image = nib.Nifti1Image(volume((40, 36, 2)), None)
    image.header.set_zooms((1.0, 1.0, 2.0))
    nib.save(image, tmp_path / "scan.nii.gz")
    answer = command(*RUN, "-i", tmp_path / "scan.nii.gz", "-o", out)
    assert answer.code == 0 and "orientation unknown" in answer.out
    assert any("no sform or qform" in text for text in report(out)["cases"][0]["warnings"])


def test_spacing_outside_the_valid_range_is_a_warning(command, nifti, volume, out):
    answer = command(*RUN, "-i", nifti(volume((40, 36, 2)), np.diag([3.0, 3, 3, 1])), "-o", out)
    assert answer.code == 0 and "outside the training range" in answer.out
    assert any("outside the training range, 0.5 to 1.5 mm" in text for text in report(out)["cases"][0]["warnings"])


def test_warned_range_is_the_described_one():
    from diffzoo.zoo.session import Session

    session = Session("score_mri", device="cpu")
    assert list(session.get("preprocessing").transforms[0].spacing_range) == session.bundle.metadata["valid_range"]["spacing_mm"]


def test_a_bad_scan_among_good_ones_stops_none_of_them(command, nifti, volume, tmp_path, out):
    for name in ("in/a.nii.gz", "in/c.nii.gz"):
        nifti(volume((40, 36, 1)), name=name)
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"no image")
    answer = command(*RUN, "-i", tmp_path / "in", "-o", out)
    assert answer.code == 2 and "1 of 3 cases failed" in answer.complaint and "b.nii.gz" in answer.complaint
    assert [case["case"] for case in report(out)["cases"]] == ["a", "c"] and report(out)["unstarted"] == []
    assert report(out)["failed"][0]["case"] == "b" and "b.nii.gz" in report(out)["failed"][0]["error"]
    lines = list(csv.DictReader((out / "report.csv").read_text().splitlines()))
    assert [(line["case"], line["status"]) for line in lines] == [("a", "done"), ("c", "done"), ("b", "failed")]
    assert {p.name for p in out.iterdir()} >= {"a_recon.nii.gz", "c_recon.nii.gz", "preview.png"}
    assert not [p for p in out.iterdir() if p.name.startswith((".", "b_"))]


def test_overwrite_replaces_and_without_it_nothing_is_touched(command, refused, nifti, volume, out):
    path = nifti(volume((40, 36, 1)))
    assert command(*RUN, "-i", path, "-o", out).code == 0
    assert "--overwrite" in refused("-i", path, "-o", out, "--set", "acceleration=2")
    assert "report.json" in refused("-i", nifti(volume((40, 36, 1)), name="other.nii.gz"), "-o", out)
    before = state(out)
    assert command(*RUN, "-i", path, "-o", out, "--set", "acceleration=2", "--overwrite").code == 0
    assert state(out).keys() == before.keys() and all(state(out)[name] != before[name] for name in before)


def test_evaluate_compares_with_the_baselines(command, nifti, volume, out):
    answer = command(
        "evaluate", "score_mri", "--data", nifti(volume((40, 36, 2))).parent, "-o", out, "--device", "cpu", "--set", "steps=2"
    )
    assert answer.code == 0, answer.err
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["mean"]) == {"recon", "total_variation", "zero_filled"} and metrics["slices"] == 2
    assert all(np.isfinite(value) for mean in metrics["mean"].values() for value in mean.values())
    assert metrics["cases"][0]["case"] == "scan" and metrics["network_calls"] == 2
    assert "PSNR" in answer.out and (out / "metrics.png").read_bytes()[:4] == b"\x89PNG"


# What is refused


def test_empty_file(refused, tmp_path, out):
    (tmp_path / "scan.nii.gz").touch()
    assert "empty" in refused("-i", tmp_path / "scan.nii.gz", "-o", out)


@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_truncated_file(refused, nifti, volume, out, kept):
    path = nifti(volume((40, 36, 4)))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert "cut short or damaged" in refused("-i", path, "-o", out)


BAD_VALUES = {
    "4D": (lambda a: np.stack([a, a], -1), "4 dimensions"),
    "NaN": (lambda a: np.where(a == a.max(), np.nan, a), "NaN"),
    "infinite": (lambda a: np.where(a == a.max(), np.inf, a), "NaN or infinite"),
    "all zero": (lambda a: 0 * a, "every voxel is 0"),
    "tiny": (lambda a: a[:12, :12], "at least 16 x 16"),
}


@pytest.mark.parametrize("kind", BAD_VALUES)
def test_bad_values(refused, nifti, volume, out, kind):
    change, words = BAD_VALUES[kind]
    path = nifti(change(volume((40, 36, 2))).astype(np.float32))
    line = refused("-i", path, "-o", out)
    assert words in line and "scan.nii.gz" in line


def test_hdf5_without_kspace(refused, tmp_path, out):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["image"] = np.ones((2, 32, 32))
    line = refused("-i", tmp_path / "scan.h5", "-o", out)
    assert "no dataset 'kspace'" in line and "image" in line


def test_hdf5_with_a_mask_of_another_shape(refused, tmp_path, out):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = np.ones((2, 32, 24), dtype=np.complex64)
        file["mask"] = np.ones(32, dtype=np.float32)
    assert "does not fit kspace; it must be [24] or [32, 24]" in refused("-i", tmp_path / "scan.h5", "-o", out)


@pytest.mark.parametrize("coils", [1, 3])
def test_kspace_with_too_few_calibration_lines(refused, volume, tmp_path, out, coils):
    path = kspace_file(tmp_path / "full.h5", volume, coils=coils, masked=False)
    assert "raise center_fraction" in refused("-i", path, "-o", out, "--set", "center_fraction=0.06")


BAD_WORDS = {
    "misspelt key": (("--set", "accelaration=4"), "did you mean acceleration"),
    "no value": (("--set", "acceleration"), "key=value"),
    "text for a number": (("--set", "acceleration=four"), "takes a number"),
    "half a step": (("--set", "steps=2.5"), "whole number"),
    "no step": (("--set", "steps=0"), "'steps' takes 1 to 2000, not 0"),
    "unknown mask": (("--set", "mask=gausian1d"), "gaussian1d"),
    "unknown sampler": (("--set", "sampler=eulr"), "did you mean euler"),
    "unknown coil method": (("--set", "coils=sence"), "sense"),
    "rule without noise": (("--set", "rule=diffpir"), "diffpir needs noise_sd > 0"),
    "grid upside down": (("--set", "sigma_max=0.001"), "0 < low <= high"),
    "no centre": (("--set", "center_fraction=0"), "center_fraction"),
    "too fast": (("--set", "acceleration=100"), "'acceleration' takes 1 to 32, not 100"),
    "no number": (("--set", "acceleration=[4"), "takes a number"),
    "parameter of the command": (("--set", "bundle_root=/"), "unknown parameter"),
    "config that is no overlay": (("--config", "train"), "no overlay 'train'"),
    "no sample": (("--set", "samples=0"), "samples"),
    "impossible acceleration": (("--set", "acceleration=0.5"), "acceleration"),
    "slices outside": (("--set", "slices=5:9"), "2 slices"),
    "unknown config": (("--config", "publishd"), "did you mean published"),
    "unknown device": (("--device", "cuba"), "--device cpu"),
    "unknown option": (("--overwite",), "--overwrite"),
}


@pytest.mark.parametrize("kind", BAD_WORDS)
def test_bad_usage(refused, nifti, volume, out, kind):
    words, told = BAD_WORDS[kind]
    assert told in refused("-i", nifti(volume((40, 36, 2))), "-o", out, *words)


def test_no_input_and_missing_files(refused, nifti, volume, tmp_path, out):
    assert "--input" in refused("-o", out)
    path = nifti(volume((40, 36, 1)))
    assert "did you mean scan.nii.gz" in refused("-i", path.with_name("scann.nii.gz"), "-o", out)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "notes.txt").write_text("no scan")
    assert "no image found" in refused("-i", tmp_path / "nothing", "-o", out)
    assert "is a file" in refused("-i", path, "-o", path)
    assert "cannot be made" in refused("-i", path, "-o", path / "out")


def test_unknown_bundle_and_command(command):
    answer = command("run", "score_mir", "-i", "x", "-o", "y")
    assert answer.code == 2 and "did you mean score_mri" in answer.complaint
    answer = command("rnu")
    assert answer.code == 2 and "run" in answer.complaint

"""Anomaly detection by the command: geometry, what no noise leaves, a DICOM-free evaluation, and what is refused."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from heads_toy import toy_head
from PIL import Image

RUN = ("run", "anoddpm", "--set", "steps=1", "--set", "average=1", "--device", "cpu")
OBLIQUE = np.array([[-4.0, 0.3, 0, 90.0], [0.3, 3.9, 0.5, -110], [0, -0.5, 4.1, -85], [0, 0, 0, 1]])


def head(**options):
    volume, affine, _ = toy_head(**options)
    return volume, affine


def report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("stripped", [True, False])
def test_maps_lie_on_the_grid_of_an_oblique_flipped_scan(command, nifti, tmp_path, stripped):
    volume, affine = head(affine=OBLIQUE, shape=(49, 55, 43), modality="t2", stripped=stripped)
    path, out = nifti(volume, affine, "sub-1_T2w.nii.gz"), tmp_path / "out"
    answer = command(*RUN, "-i", path, "-o", out)
    assert answer.code == 0, answer.err
    [case] = report(out)["cases"]
    assert case["acquisition"]["modality"] == "t2" and case["found_ml"] >= 0 and case["network_calls"] == 4
    for name in ("healthy", "anomaly_map", "mask"):
        image = nib.load(out / f"sub-1_T2w_{name}.nii.gz")
        assert image.shape == volume.shape and np.allclose(image.affine, affine, atol=1e-4)
    score, mask = (nib.load(out / f"sub-1_T2w_{name}.nii.gz").get_fdata() for name in ("anomaly_map", "mask"))
    assert score.min() >= 0 and set(np.unique(mask)) <= {0, 1} and not score[:2].any()
    healthy = nib.load(out / "sub-1_T2w_healthy.nii.gz").get_fdata()
    outside = score == 0
    assert np.corrcoef(healthy.ravel(), volume.ravel())[0, 1] > 0.9
    assert np.mean(healthy[outside] == volume[outside]) > 0.95
    assert (out / "preview.png").stat().st_size > 1000


def test_a_threshold_of_other_settings_and_a_mask_of_half_the_brain_are_warned_of(command, nifti, tmp_path):
    volume, affine = head()
    path = nifti(volume, affine, "scan_t1.nii.gz")
    answer = command(*RUN, "-i", path, "-o", tmp_path / "other")
    told = "warning: the threshold was chosen for another average"
    assert told in answer.out and told.removeprefix("warning: ") in report(tmp_path / "other")["cases"][0]["warnings"][0]
    answer = command(*RUN, "--set", "threshold=0.001", "--set", "noise_level=1", "-i", path, "-o", tmp_path / "half")
    assert "of the brain: that is no lesion" in answer.out
    heights = [Image.open(tmp_path / name / "preview.png").size[1] for name in ("other", "half")]
    plain = command(*RUN, "--set", "threshold=0.3", "-i", path, "-o", tmp_path / "plain")
    assert "warning" not in plain.out and Image.open(tmp_path / "plain" / "preview.png").size[1] < min(heights)  # less a line


def test_without_noise_the_scan_comes_back_bit_by_bit(command, nifti, tmp_path):
    volume, affine = head()
    path, out = nifti(volume, affine, "scan_t1.nii.gz"), tmp_path / "out"
    assert command(*RUN, "--set", "noise_level=0", "--set", "white_level=0", "-i", path, "-o", out).code == 0
    assert np.array_equal(nib.load(out / "scan_t1_healthy.nii.gz").get_fdata(), nib.load(path).get_fdata())
    assert not nib.load(out / "scan_t1_anomaly_map.nii.gz").get_fdata().any()
    assert report(out)["cases"][0]["found_ml"] == 0


def test_a_threshold_and_a_contrast_may_be_set(command, nifti, tmp_path):
    volume, affine = head(modality="flair")
    path = nifti(volume, affine, "scan.nii.gz")
    answer = command(*RUN, "-i", path, "-o", tmp_path / "a")
    assert answer.code == 2 and "set modality=t1, t2 or flair" in answer.err
    found = []
    for threshold in (0.02, 0.5):
        out = tmp_path / str(threshold)
        assert command(*RUN, "-i", path, "-o", out, "--set", "modality=flair", "--set", f"threshold={threshold}").code == 0
        found.append(report(out)["cases"][0]["found_ml"])
    assert found[0] > found[1]


def test_an_evaluation_judges_every_method_on_real_and_synthetic_lesions(command, nifti, tmp_path):
    volume, affine = head(stripped=True)
    label = np.zeros(volume.shape, np.uint8)
    label[24:28, 26:30, 22:25] = 1
    hurt = np.where(label, 1.6 * volume, volume).astype(np.float32)
    scan, mask = nifti(hurt, affine, "p_t1.nii.gz"), nifti(label, affine, "p_lesion.nii.gz")
    plain = nifti(volume, affine, "q_t1.nii.gz")
    entries = [{"image": str(scan), "mask": str(mask), "subject": "p"}, {"image": str(plain), "normal": True}]
    (tmp_path / "list.json").write_text(json.dumps({"test": entries}))
    words = ("evaluate", "anoddpm", "--data", tmp_path / "list.json", "--set", "steps=1", "--set", "average=1", "--device", "cpu")
    answer = command(*words, "-o", tmp_path / "real")
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "real" / "metrics.json").read_text())
    assert set(metrics["mean"]) == {"anomaly_map", "simplex", "gaussian", "mean_distance", "brightness"}
    assert metrics["healthy"]["cases"] == 1 and all(0 <= m["auprc"] <= 1 for m in metrics["mean"].values())
    (tmp_path / "one.json").write_text(json.dumps({"test": entries[:1]}))
    answer = command(*words[:3], tmp_path / "one.json", *words[4:], "--set", "lesions=12", "-o", tmp_path / "synthetic")
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "synthetic" / "metrics.json").read_text())
    assert metrics["groups"]["12 mm"]["cases"] == 6 and metrics["groups"]["12 mm"]["subjects"] == 1
    assert all("moved" in case["metrics"]["anomaly_map"] for case in metrics["cases"])


def test_a_scan_without_a_mask_cannot_be_judged(command, nifti, tmp_path):
    path = nifti(*head(stripped=True), "a_t1.nii.gz")
    (tmp_path / "list.json").write_text(json.dumps({"test": [{"image": str(path)}]}))
    words = (
        "evaluate",
        "anoddpm",
        "--data",
        tmp_path / "list.json",
        "-o",
        tmp_path / "o",
        "--set",
        "steps=1",
        "--set",
        "average=1",
    )
    answer = command(*words)
    assert answer.code == 2 and "no mask to compare with" in answer.err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda v: np.zeros_like(v), "one value|no signal|every voxel|empty"),
        (lambda v: v[:, :, :5], "too few"),
        (lambda v: (v > 100).astype(np.uint8) * 3, "a label map, not a scan"),
        (lambda v: v - 900, "CT in HU"),
        (lambda v: np.where(v > 1e9, v, np.nan).astype(np.float32), "NaN|finite|not a number"),
        (lambda v: np.stack([v, v, v], -1), "4D|frames|dimension|volume"),
        (lambda v: np.pad(v[16:32, 18:36, 14:28], 17).astype(np.float32), "no brain found"),
    ],
)
def test_what_is_no_head_is_refused_in_one_line_and_leaves_nothing(command, nifti, tmp_path, make, words):
    volume, affine = head()
    path, out = nifti(make(volume), affine, "scan_t1.nii.gz"), tmp_path / "out"
    answer = command(*RUN, "-i", path, "-o", out)
    assert answer.code == 2 and "Traceback" not in answer.err
    assert re.search(words, answer.err + answer.out), answer.err + answer.out
    assert not out.exists() or not list(out.glob("*.nii.gz"))

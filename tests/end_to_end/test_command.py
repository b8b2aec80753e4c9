"""The installed command from outside: what it prints, what it leaves, how fast it starts, how it stops."""

import csv
import json
import time
from datetime import UTC, datetime

import nibabel as nib
import numpy as np
import pytest

from diffzoo.facts import sha256
from diffzoo.zoo.bundle import find
from diffzoo.zoo.trust import level_of

LIGHT_SECONDS = 10.0  # 0.2 to 0.4 on an idle machine; the tests may share theirs


@pytest.mark.parametrize("words", [["--help"], ["list"], ["info", "score_mri"], ["run", "--help"]], ids=" ".join)
def test_light_commands_start_fast(installed, words):
    best = min((installed(*words) for _ in range(2)), key=lambda d: d.seconds)
    assert best.code == 0 and best.err == ""
    assert best.seconds < LIGHT_SECONDS


def test_light_commands_import_no_torch(python):
    script = """
import sys
from diffzoo.cli import main
for words in (["--help"], ["list"], ["info", "score_mri"], ["run", "score_mri", "-i", "no", "-o", "no", "--set", "stepz=1"]):
    sys.argv = ["diffzoo", *words]
    try:
        main()
    except SystemExit:
        pass
heavy = {"torch", "monai", "numpy", "nibabel", "skimage", "matplotlib", "SimpleITK"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    assert python("-c", script).code == 0


def test_help_list_and_info_tell_what_is_here(command):
    for name in ("list", "info", "doctor", "run", "evaluate"):
        assert name in command("--help").out
    bundle = find("score_mri")
    listed = command("list").out
    assert bundle.name in listed and bundle.metadata["version"] in listed
    told = command("info", "score_mri").out
    assert all(name in told and one.help in told for name, one in bundle.parameters().items())
    for key in ("intended_use", "limits", "accepts", "gives", "headline"):
        assert bundle.metadata[key] in told
    assert "CC-BY-4.0" in told and "arXiv:2110.05243" in told


def test_list_shows_a_broken_bundle_beside_the_others(command, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path))
    (tmp_path / "bundles" / "torn" / "configs").mkdir(parents=True)
    (tmp_path / "bundles" / "torn" / "configs" / "metadata.json").write_text("{")
    answer = command("list")
    assert answer.code == 0 and "score_mri" in answer.out and "broken" in answer.out


def test_no_word_shows_the_help(command):
    assert command().code == 0 and "Commands:" in command().out


def test_python_m_diffzoo_is_the_command(python):
    answer = python("-m", "diffzoo", "list")
    assert answer.code == 0 and "score_mri" in answer.out


def test_doctor_finds_this_installation_whole(installed):
    answer = installed("doctor")
    told = "".join(answer.out.splitlines())
    assert "torch" in told and "score_mri" in told and "device" in told
    assert answer.code == (1 if "BAD" in answer.out else 0)
    whole = sha256(find("score_mri").weights) == find("score_mri").metadata["weights_sha256"]
    assert ("ok  bundle score_mri" in answer.out) == whole


def test_run_says_its_plan_and_result(done):
    answer, folder = done
    assert answer.code == 0, answer.err
    plan, result, place = answer.out.splitlines()
    assert "score_mri" in plan and "cpu" in plan and "1 case" in plan and "3 steps" in plan and "GB" in plan
    assert result.startswith("head: ") and "dB" in result
    assert str(folder / "preview.png") in place and str(folder / "report.json") in place
    assert answer.err == ""  # no bar and no log where there is no terminal


def test_run_leaves_volumes_in_the_geometry_of_the_scan(done, scan):
    _, folder = done
    assert sorted(p.name for p in folder.iterdir()) == [
        "head_recon.nii.gz",
        "head_zero_filled.nii.gz",
        "preview.png",
        "report.csv",
        "report.json",
    ]
    given = nib.load(scan)
    for name in ("head_recon.nii.gz", "head_zero_filled.nii.gz"):
        made = nib.load(folder / name)
        assert made.shape == given.shape and np.allclose(made.affine, given.affine)
        assert np.isfinite(made.get_fdata()).all()
        assert 0.5 < made.get_fdata().max() / given.get_fdata().max() < 2  # the units of the scan


def test_preview_is_a_picture(done):
    from PIL import Image

    with Image.open(done[1] / "preview.png") as picture:
        picture.load()
        assert picture.format == "PNG" and min(picture.size) > 100
        assert np.asarray(picture.convert("L")).std() > 5


def test_report_tells_command_date_input_and_slices(done, scan):
    report = json.loads((done[1] / "report.json").read_text())
    command = "diffzoo run score_mri -i head.nii.gz -o out --device cpu --set seed=7 --set steps=3"
    assert report["run"]["command"] == command and report["run"]["configs"] == ["inference"]
    assert datetime.fromisoformat(report["run"]["date"]).tzinfo == UTC
    [case] = report["cases"]
    assert case["inputs"] == {"image": {"name": "head.nii.gz", "sha256": sha256(scan)}}
    assert case["slices"] == {"plane": "axial", "counted_from": "feet", "numbers": [0, 1]}
    [line] = csv.DictReader((done[1] / "report.csv").read_text().splitlines())
    assert (line["case"], line["status"]) == ("head", "done")
    assert float(line["recon_psnr"]) == case["metrics"]["recon"]["psnr"]


def test_report_tells_what_ran_and_how_well(done):
    report, bundle = json.loads((done[1] / "report.json").read_text()), find("score_mri")
    assert report["bundle"] == {
        "name": "score_mri",
        "version": bundle.metadata["version"],
        "weights_sha256": sha256(bundle.weights),
        "trust": level_of(bundle.root),
    }
    assert report["software"].keys() >= {"python", "diffzoo", "torch", "monai", "numpy"} and report["device"] == "cpu"
    assert report["parameters"] == {name: p.default for name, p in bundle.parameters().items()} | {"seed": 7, "steps": 3}
    assert "not for diagnosis" in report["notice"]
    [case] = report["cases"]
    assert (case["case"], case["input"], case["network_calls"], case["warnings"]) == ("head", "head.nii.gz", 3, [])
    assert case["acquisition"]["undersampling"] == "retrospective" and 3 < case["acquisition"]["effective_acceleration"] < 5
    assert case["data_residual"] < 1e-3 and 0 < case["seconds"] < 120
    assert case["spacing_mm"] == [1.0, 1.0, 1.0] and len(case["shape"]) == 3
    recon, zero_filled = case["metrics"]["recon"], case["metrics"]["zero_filled"]
    assert recon["psnr"] >= zero_filled["psnr"] > 10 and 0 < recon["ssim"] <= 1 and recon["nmse"] < 1


def test_an_error_is_one_line_and_code_2(installed, tmp_path):
    (tmp_path / "empty.nii.gz").touch()
    answer = installed("run", "score_mri", "-i", tmp_path / "empty.nii.gz", "-o", tmp_path / "out")
    assert answer.code == 2 and "empty" in answer.complaint
    assert [p.name for p in tmp_path.iterdir()] == ["empty.nii.gz"]


def test_debug_shows_the_traceback(installed, tmp_path):
    answer = installed("run", "score_mri", "-i", tmp_path / "missing.nii.gz", "-o", tmp_path / "out", "--debug")
    assert answer.code == 2 and "Traceback" in answer.err and "InputError" in answer.err


def test_ctrl_c_ends_with_130_and_leaves_no_half_file(interrupted, nifti, volume, tmp_path):
    first, second = nifti(volume((64, 64, 1)), name="in/a.nii.gz"), nifti(volume((160, 160, 40)), name="in/b.nii.gz")
    out = tmp_path / "out"

    def begun():
        ready = (out / "report.json").exists()
        time.sleep(0.5 if ready else 0)  # then the second scan is under way
        return ready

    words = ("run", "score_mri", "-i", first, "-i", second, "-o", out, "--device", "cpu", "--set", "steps=200")
    answer = interrupted(begun, *words, "--set", "slice_batch=1")
    assert answer.code == 130
    assert answer.err.splitlines() == ["interrupted; finished cases are kept"]
    names = ["a_recon.nii.gz", "a_zero_filled.nii.gz", "preview.png", "report.csv", "report.json"]
    assert sorted(p.name for p in out.iterdir()) == names
    report = json.loads((out / "report.json").read_text())
    assert [case["case"] for case in report["cases"]] == ["a"] and report["unstarted"] == ["b"]


def test_monai_bundle_run_gives_the_same_voxels(python, done, scan, tmp_path):
    root = find("score_mri").root
    words = [
        "--config_file",
        "configs/inference.yaml",
        "--bundle_root",
        root,
        "--dataset_dir",
        scan,
        "--output_dir",
        tmp_path / "out",
    ]
    words += ["--steps", 3, "--seed", 7, "--device_name", "cpu"]
    answer = python("-m", "monai.bundle", "run", *words, cwd=root)
    assert answer.code == 0, answer.err
    for name in ("head_recon.nii.gz", "head_zero_filled.nii.gz"):
        here, there = nib.load(tmp_path / "out" / name), nib.load(done[1] / name)
        assert np.array_equal(here.get_fdata(), there.get_fdata()) and np.array_equal(here.affine, there.affine)
    ours, theirs = (json.loads((folder / "report.json").read_text()) for folder in (done[1], tmp_path / "out"))
    assert ours["parameters"] == theirs["parameters"] and theirs["bundle"] == ours["bundle"] | {"trust": "not scanned"}

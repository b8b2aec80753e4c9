"""The installed command on contrasts of a head: by role, by folder, with a target that is the truth; and what it refuses."""

import json

import nibabel as nib
import numpy as np
import pytest
from contrasts_toy import write_contrasts

FAST = ["--set", "steps=2", "--set", "grid_mm=4", "--device", "cpu"]


@pytest.fixture
def run(command):
    """run("-i", ...) is the command on the bundle, at two steps on a coarse grid."""
    return lambda *words: command("run", "umm_csgm", *map(str, words), *FAST)


def test_images_by_role_make_the_others(run, tmp_path):
    paths = write_contrasts(tmp_path / "in", ("t1", "flair"), "x")
    renamed = tmp_path / "in" / "one.nii.gz"
    (tmp_path / "in" / "x_t1.nii.gz").rename(renamed)
    done = run("-i", f"t1={renamed}", "-i", f"flair={paths['flair']}", "-o", tmp_path / "out")
    assert done.code == 0 and "T1POST, T2 from T1, FLAIR" in done.out
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == ["one_t1post.nii.gz", "one_t2.nii.gz", "preview.png", "report.csv", "report.json"]
    scan, made = nib.load(renamed), nib.load(tmp_path / "out" / "one_t2.nii.gz")
    assert made.shape == scan.shape and np.array_equal(made.affine, scan.affine) and np.isfinite(made.get_fdata()).all()


def test_a_folder_is_joined_to_people_and_a_target_is_compared(run, tmp_path):
    for seed, name in enumerate(("sub-01", "sub-02")):
        write_contrasts(tmp_path / "in", ("t1", "flair"), name, seed)
    assert run("-i", tmp_path / "in", "-o", tmp_path / "out", "--set", "target=flair", "--set", "samples=2").code == 0
    cases = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    assert [case["case"] for case in cases] == ["sub-01", "sub-02"]
    assert all(case["outputs"] == [f"{case['case']}_flair.nii.gz", f"{case['case']}_flair_std.nii.gz"] for case in cases)
    assert all(set(case["metrics"]) == {"draw", "mean"} and "covered_0.8" in case["spread"] for case in cases)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-i", "{t1}", "-i", "{again}"], "a second t1 beside"),
        (["-i", "t3={t1}"], "t3 is no image that this bundle takes"),
        (["-i", "{plain}"], "its name tells none of t1, t1post, t2, flair"),
        (["-i", "{t1}", "--set", "target=t1"], "nothing is given to make it from"),
        (["-i", "{t1}", "--set", "target=t4"], "unknown role 't4'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run, tmp_path, words, told):
    folder = tmp_path / "in"
    paths = write_contrasts(folder, ("t1",), "sub")
    names = {"t1": paths["t1"], "again": folder / "sub_T1w.nii.gz", "plain": folder / "scan.nii.gz"}
    for name in ("again", "plain"):
        names[name].write_bytes((folder / "sub_t1.nii.gz").read_bytes())
    done = run(*(word.format(**names) for word in words), "-o", tmp_path / "out")
    assert done.code == 2 and told in done.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_role_for_a_bundle_without_roles_is_refused(command, tmp_path):
    paths = write_contrasts(tmp_path, ("t1",))
    done = command("run", "anoddpm", "-i", f"t1={paths['t1']}", "-o", str(tmp_path / "out"), "--device", "cpu")
    assert done.code == 2 and "takes one image, without a role" in done.err

"""Inputs as a list of cases, each with a name of its own, and their shapes from the headers alone."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from diffzoo.errors import InputError
from diffzoo.imaging.io.cases import cases_at, stored_shape


def test_a_file_a_folder_and_several_of_them(nifti, volume, tmp_path):
    first, second = (nifti(volume((16, 16, 2)), name=f"scans/{name}.nii.gz") for name in ("b", "a"))
    assert cases_at(first) == [{"image": str(first), "case": "b"}]
    both = [{"image": str(second), "case": "a"}, {"image": str(first), "case": "b"}]
    assert cases_at(tmp_path / "scans") == both
    assert cases_at([second, str(first)]) == both
    assert cases_at([first, tmp_path / "scans"]) == [both[1], both[0]]  # none twice


def test_equal_names_are_told_apart(nifti, volume, tmp_path):
    for folder in ("one", "two"):
        nifti(volume((16, 16, 2)), name=f"{folder}/scan.nii")
    found = cases_at([tmp_path / "one" / "scan.nii", tmp_path / "two" / "scan.nii"])
    assert [case["case"] for case in found] == ["one_scan", "two_scan"]


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_nothing_to_work_on_is_an_error(tmp_path, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        cases_at(tmp_path / what)


def test_shapes_come_from_headers(nifti, volume, tmp_path):
    assert stored_shape(nifti(volume((16, 17, 2)))) == (16, 17, 2)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = np.zeros((2, 3, 16, 17), np.complex64)
        file["sinogram"] = np.zeros((9, 20), np.float32)
    assert stored_shape(tmp_path / "scan.h5") == (2, 3, 16, 17)
    with h5py.File(tmp_path / "rays.hdf5", "w") as file:
        file["sinogram"] = np.zeros((2, 9, 20), np.float32)
    assert stored_shape(tmp_path / "rays.hdf5") == (2, 9, 20)


def test_the_shape_of_an_array_comes_without_its_values(tmp_path):
    np.save(path := tmp_path / "scan.npy", np.ones((16, 512, 1024), np.float32))
    tracemalloc.start()
    assert stored_shape(path) == (16, 512, 1024)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 32


@pytest.mark.parametrize("name", ["gone.nii", "broken.nii", "broken.h5", "broken.npy", "picture.png"])
def test_a_shape_that_is_not_told_is_none(tmp_path, name):
    if not name.startswith("gone"):
        (tmp_path / name).write_bytes(b"no header")
    assert stored_shape(tmp_path / name) is None


def test_arrays_that_hold_objects_or_end_early_have_no_shape(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}, None]), allow_pickle=True)
    np.save(tmp_path / "short.npy", np.zeros((9, 20)))
    (tmp_path / "short.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-1])
    assert stored_shape(tmp_path / "objects.npy") is None and stored_shape(tmp_path / "short.npy") is None


def test_what_an_image_is_may_stand_before_its_path(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz", "t1=c.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    found = cases_at([f"t1={tmp_path / 'a.nii.gz'}", f"FLAIR={tmp_path / 'b.nii.gz'}", str(tmp_path / "t1=c.nii.gz")])
    assert [case.get("role") for case in found] == ["t1", "flair", None]
    assert [Path(case["image"]).name for case in found] == ["a.nii.gz", "b.nii.gz", "t1=c.nii.gz"]
    with pytest.raises(InputError, match="no such file"):
        cases_at([f"t1={tmp_path / 'd.nii.gz'}"])


def test_a_bids_tree_gives_the_anatomical_images_of_its_subjects(tmp_path):
    wanted = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"]
    for name in (*wanted, "sub-01/func/sub-01_bold.nii.gz", "derivatives/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert {Path(case["image"]).relative_to(tmp_path).as_posix() for case in cases_at(tmp_path)} == set(wanted)

"""One line for everything that cannot be read, and how files and folders become cases."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk
from files_toy import LPS, NUMBERS, affine_of, refused, saved
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.imaging.io.cases import cases_at, stored_shape
from diffzoo.imaging.io.files import (
    case_name,
    case_names,
    read_volume,
    suffix_of,
    write_volume,
)
from diffzoo.imaging.io.tree import find_cases


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.nii.gz"


def test_missing_path_names_its_neighbours(path, tmp_path):
    saved(path)
    assert "scan.nii.gz" in refused(tmp_path / "scam.nii.gz", "no such file", "did you mean")
    refused(tmp_path / "zzzz", "no such file", "check the path")
    refused(tmp_path / "nowhere" / "scan.nii.gz", "does not exist", "nowhere")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.png", "a.jpg", "a.dcm"])
def test_empty_and_foreign_contents(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    refused(path, "empty")
    path.write_bytes(b"this is no image at all, only a few words\n" * 20)
    refused(path)


def test_not_an_image(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    refused(tmp_path / "notes.txt", "not an image", "accepted are")
    (tmp_path / "raw.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(tmp_path / "raw.h5", "raw data")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no DICOM")


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".nrrd", ".mha", ".png"])
def test_truncated_files(tmp_path, end):
    array = np.random.default_rng(0).normal(100, 30, (40, 40, 1))
    path = write_volume(tmp_path / f"scan{end}", array, np.eye(4))
    data = path.read_bytes()
    for share in (0.3, 0.7, 0.98):
        path.write_bytes(data[: int(share * len(data))])
        refused(path, "cut short")


def test_damaged_gzip(path):
    data = bytearray(gzip.compress(saved(path.with_name("scan.nii")).read_bytes()))
    data[-6] ^= 255  # the checksum
    path.write_bytes(data)
    refused(path, "damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(path, value):
    array = NUMBERS.copy()
    array[1, 1, 1] = value
    refused(saved(path, array), "NaN or infinite")


@pytest.mark.parametrize("value", [0, 7])
def test_constant(path, value):
    saved(path, np.full((2, 3, 4), value, np.float32))
    refused(path, f"every voxel is {value}")
    assert read_volume(path, allow_constant=True).max() == value


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0)])
def test_axis_of_no_length(path, shape):
    refused(saved(path, np.zeros(shape, np.float32)))


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (2, 3, 1, 4), (2, 3, 4, 1, 3)])
def test_too_many_dimensions(path, shape):
    refused(saved(path, np.ones(shape, np.float32)), "dimensions", "pick one volume")


def test_itk_with_four_dimensions_or_vectors(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4, 5)), isVector=False), str(tmp_path / "time.mha"))
    refused(tmp_path / "time.mha", "4 dimensions")
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5, 2)), isVector=True), str(tmp_path / "vector.nrrd"))
    refused(tmp_path / "vector.nrrd", "2 values a voxel")


def test_itk_single_slices(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    for name in ("a.mha", "a.nrrd"):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2, 3))
        image.SetOrigin((4, 5))
        sitk.WriteImage(image, str(tmp_path / name))
        read = read_volume(tmp_path / name)
        np.testing.assert_array_equal(read.numpy()[0, ..., 0], array.T)
        np.testing.assert_allclose(read.affine, LPS @ affine_of(sizes=(2, 3, 1), origin=(4, 5, 0)))


def test_colour_and_complex_nifti(path):
    rgb = np.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(saved(path, rgb), "colour")
    refused(saved(path, NUMBERS.astype(np.complex64)), "complex", "magnitude")


@pytest.mark.parametrize("bad", [np.diag([1.0, 0, 1, 1]), np.diag([1, np.nan, 1, 1]), np.ones((4, 4))])
def test_unusable_affine(path, bad):
    data = bytearray(saved(path.with_name("scan.nii")).read_bytes())
    data[280:328] = bad[:3].astype("<f4").tobytes()  # srow_x, srow_y, srow_z
    path.write_bytes(gzip.compress(data))
    refused(path, "affine")


def test_singular_direction_in_mha(tmp_path):
    write_volume(tmp_path / "a.mha", NUMBERS, np.eye(4))
    data = (tmp_path / "a.mha").read_bytes()
    start = data.index(b"TransformMatrix = ")
    (tmp_path / "a.mha").write_bytes(data[:start] + b"TransformMatrix = 1 0 0 1 0 0 0 0 1" + data[data.index(b"\n", start) :])
    refused(tmp_path / "a.mha", "singular")


# cases


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * 128 + b"DICM" if name.endswith(".dcm") else b"x")


def test_find_cases(tmp_path):
    touch(tmp_path, "b.nii.gz", "a.PNG", "k.h5", "notes.txt", ".hidden.nii", "two/deep/1.dcm", "two/deep/2.dcm", "empty/x.txt")
    touch(tmp_path, "sub/c.nii", "sub/labels/c.nii")
    found = [p.relative_to(tmp_path).as_posix() for p in find_cases(tmp_path)]
    assert found == ["a.PNG", "b.nii.gz", "k.h5", "sub/c.nii", "two/deep"]
    assert find_cases(str(tmp_path / "b.nii.gz")) == [tmp_path / "b.nii.gz"]
    assert find_cases([tmp_path / "sub", tmp_path / "a.PNG", tmp_path / "a.PNG"]) == [tmp_path / "sub/c.nii", tmp_path / "a.PNG"]
    assert cases_at(tmp_path / "sub") == [{"image": str(tmp_path / "sub/c.nii"), "case": "c"}]


def test_a_file_without_suffix_is_a_case_if_it_has_the_dicom_mark(tmp_path):
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "README").write_bytes(b"words")
    assert find_cases(tmp_path / "IM0001") == [tmp_path / "IM0001"]
    with pytest.raises(InputError, match="no image found"):
        find_cases(tmp_path / "README")


def test_find_cases_refuses_nothing_and_missing(tmp_path):
    touch(tmp_path, "empty/x.txt", "scan.nii")
    for paths, word in (
        (tmp_path / "empty", "no image found"),
        ([], "no input"),
        (tmp_path / "scann.nii", "did you mean scan.nii"),
    ):
        with pytest.raises(InputError, match=word):
            find_cases(paths)


def test_names(tmp_path):
    assert [suffix_of(n) for n in ("A.NII.GZ", "x.nii", "x.tar.gz", "k.h5", "x")] == [".nii.gz", ".nii", "", ".h5", ""]
    assert case_name("data/t1.brain.nii.gz") == "t1.brain" and case_name("IM0001") == "IM0001"
    (tmp_path / "series.nii").mkdir()
    assert case_name(tmp_path / "series.nii") == "series.nii"
    assert case_names(["a/t1.nii", "b/t1.nii", "b/t2.nii"]) == ["a_t1", "b_t1", "t2"]
    assert case_names(["s1/anat/t1.nii", "s2/anat/t1.nii"]) == ["s1_t1", "s2_t1"]
    assert case_names(["a/t1.nii", "a/t1.png", "a/t1_2.png"]) == ["t1", "t1_2", "t1_2_2"]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from(("t", "t_2", "a_t")), st.sampled_from(
    (".nii", ".nii.gz", ".png"))), unique=True, min_size=1, max_size=8))  # fmt: skip
def test_names_are_all_different(parts):
    names = case_names([f"{a}/{b}/{c}{d}" for a, b, c, d in parts])
    assert len(set(names)) == len(parts)


def test_stored_shape(path, tmp_path):
    assert stored_shape(saved(path)) == (2, 3, 4)
    assert stored_shape(tmp_path / "missing.nii") is None and stored_shape("a.png") is None

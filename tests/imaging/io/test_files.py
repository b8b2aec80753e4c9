"""Volumes and pictures from and to files: round trips, geometry, headers, and whole files or none."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from files_toy import LPS, NUMBERS, affine_of, refused, rotation, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import (
    atomic,
    case_name,
    read_volume,
    write_bytes,
    write_json,
    write_volume,
)
from diffzoo.imaging.io.tree import find_cases

examples = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def geometries(draw):
    """(shape, affine): odd and single sizes, anisotropic voxels, axes in any order and direction, oblique."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=3, max_size=3).filter(lambda s: np.prod(s) > 1)))
    order, signs = draw(st.permutations(range(3))), draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    turn = rotation(*draw(st.tuples(*[st.floats(-0.7, 0.7)] * 3))) if draw(st.booleans()) else np.eye(3)
    sizes = draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    return shape, affine_of(turn @ np.eye(3)[:, order] * signs, sizes, draw(st.tuples(*[st.floats(-200, 200)] * 3)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.nii.gz"


# round trips


@examples
@given(geometries(), st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]))
def test_volume_round_trip(tmp_path, geometry, end):
    shape, affine = geometry
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image = read_volume(write_volume(tmp_path / f"scan{end}", array, affine))
    assert image.shape == (1, *shape) and str(image.dtype) == "torch.float32"
    np.testing.assert_array_equal(image.numpy()[0], array)
    # NIfTI stores its affine as float32: 200 mm to about 1e-5
    np.testing.assert_allclose(image.affine.numpy(), affine, atol=3e-5 if "nii" in end else 1e-6, rtol=0)
    again = read_volume(write_volume(tmp_path / f"again{end}", image))
    np.testing.assert_allclose(again.affine.numpy(), image.affine.numpy(), atol=1e-6, rtol=0)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@examples
@given(geometries())
def test_nifti_qform_and_sform_agree(tmp_path, geometry):
    shape, affine = geometry
    path = write_volume(tmp_path / "scan.nii", np.random.default_rng(0).normal(size=shape), affine)
    twice = write_volume(tmp_path / "twice.nii", read_volume(path), np.round(affine, 5))  # as other programs store it
    for file in (path, twice):
        (sform, scode), (qform, qcode) = (f(coded=True) for f in (nib.load(file).get_sform, nib.load(file).get_qform))
        assert scode == qcode == 1
        np.testing.assert_allclose(qform, sform, atol=1e-3)
        assert nib.load(file).header.get_xyzt_units()[0] == "mm"


def test_nifti_shear_is_kept_in_the_sform_alone(path):
    affine = affine_of(np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]]))
    write_volume(path, NUMBERS, affine)
    np.testing.assert_allclose(read_volume(path).affine, affine, atol=1e-6)
    assert nib.load(path).get_qform(coded=True)[1] == 0


@pytest.mark.parametrize("end", [".nrrd", ".mha"])
@pytest.mark.parametrize("signs", itertools.product((-1, 1), repeat=2))
def test_itk_files_place_voxels_as_itk_does(tmp_path, end, signs):
    path, affine = tmp_path / f"scan{end}", affine_of(np.diag([*signs, 1.0]) @ rotation(0.2, -0.1, 0.4), (1, 2, 3), (5, -6, 7))
    write_volume(path, NUMBERS, affine)
    image = sitk.ReadImage(str(path))
    for voxel in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        assert image[voxel] == NUMBERS[voxel]
        np.testing.assert_allclose(
            LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(voxel), (affine @ [*voxel, 1])[:3], atol=1e-6
        )


def test_nrrd_in_ras_space_and_without_a_space(tmp_path):
    lines = "NRRD0004\ntype: float\ndimension: 3\nsizes: 2 3 4\nencoding: raw\nendian: little\n"
    place = "space: right-anterior-superior\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (5,6,7)\n"
    data = NUMBERS.astype("<f4").tobytes(order="F")
    (tmp_path / "ras.nrrd").write_bytes((lines + place + "\n").encode() + data)
    (tmp_path / "none.nrrd").write_bytes((lines + "spacings: 2 3 4\n\n").encode() + data)
    image = read_volume(tmp_path / "ras.nrrd")
    np.testing.assert_array_equal(image.numpy()[0], NUMBERS)
    np.testing.assert_allclose(image.affine, affine_of(sizes=(2, 3, 4), origin=(5, 6, 7)))
    assert image.meta["warnings"] == []
    assert "names no space" in read_volume(tmp_path / "none.nrrd").meta["warnings"][0]


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535)])
def test_png_round_trip_keeps_depth(tmp_path, dtype, top):
    array = np.linspace(0, top, 35).round().astype(dtype).reshape(5, 7)
    Image.fromarray(array).save(tmp_path / "a.png")
    image = read_volume(tmp_path / "a.png")
    assert image.shape == (1, 5, 7, 1) and image.meta["dtype"] == dtype
    np.testing.assert_array_equal(image.numpy()[0, ..., 0], array)
    write_volume(tmp_path / "b.png", image + 0.3, like=image.meta)  # rounded and, at the top, clipped
    with Image.open(tmp_path / "b.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), array)


def test_picture_is_an_upright_axial_slice(tmp_path):
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "a.png")
    image = read_volume(tmp_path / "a.png")
    assert nib.aff2axcodes(image.affine.numpy()) == ("P", "L", "S")  # rows go down to P, columns to the patient's left
    assert "1 mm" in image.meta["warnings"][0]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1"])
def test_grey_pictures_of_every_mode(tmp_path, mode):
    array = np.array([[0, 255, 0], [255, 255, 0]], dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").numpy()[0, ..., 0], array)


def test_colour_picture(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "colour", "grey")
    image = read_volume(tmp_path / "a.png", color=True)
    np.testing.assert_array_equal(image.numpy()[..., 0], array.transpose(2, 0, 1))


def test_meta(path):
    affine = affine_of(sizes=(1, 1, 3))
    image = read_volume(saved(path, NUMBERS.astype(np.int16), affine))
    meta = image.meta
    assert {k: meta[k] for k in ("kind", "source", "shape", "dtype", "warnings", "sform_code", "qform_code")} == {
        "kind": "nifti", "source": "scan.nii.gz", "shape": (2, 3, 4), "dtype": "int16", "warnings": [],
        "sform_code": 2, "qform_code": 0,
    }  # fmt: skip
    np.testing.assert_allclose(meta["original_affine"], affine)
    assert "RAS" in str(meta["space"])


# measured data


def test_raw_data_is_a_case_but_no_volume(tmp_path):
    np.save(tmp_path / "scan.npy", NUMBERS)
    for name in ("scan.json", "B.NPY", "c.hdf5"):
        (tmp_path / name).write_bytes(b"{}")
    assert [p.name for p in find_cases(tmp_path)] == ["B.NPY", "c.hdf5", "scan.npy"]
    assert [case_name(p) for p in find_cases(tmp_path)] == ["B", "c", "scan"]
    for name in ("scan.npy", "B.NPY", "c.hdf5"):
        refused(tmp_path / name, "raw data", ".npy")
    with pytest.raises(InputError, match=r"accepted are .*NumPy \(.npy, .npz\)"):
        find_cases(tmp_path / "scan.json")


# NIfTI headers


def test_slope_and_intercept(path):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(path)
    data, expected = nib.load(path).dataobj, read_volume(path).numpy()[0]
    assert data.slope == 0.5 and data.inter == -3
    np.testing.assert_allclose(expected, 0.5 * data.get_unscaled() - 3)


def test_sform_goes_before_qform_and_qform_serves_alone(path):
    sform, qform = affine_of(rotation(0.1, 0.2, 0.3), (1, 2, 3), (1, 2, 3)), affine_of(rotation(0, 0, 1), (1, 2, 3), (9, 9, 9))
    for scode, qcode, expected in ((1, 1, sform), (4, 2, sform), (0, 1, qform)):
        image = nib.Nifti1Image(NUMBERS, np.eye(4))
        image.set_qform(qform, qcode)
        image.set_sform(sform, scode)
        nib.save(image, path)
        read = read_volume(path)
        np.testing.assert_allclose(read.affine, expected, atol=1e-5)
        assert (read.meta["sform_code"], read.meta["qform_code"]) == (scode, qcode)
        assert [w.split(":")[0].split(" by")[0] for w in read.meta["warnings"]] == ["sform and qform disagree"] * (scode > 0)


def test_space_codes_of_the_source_are_kept(path, tmp_path):
    image = nib.Nifti1Image(NUMBERS, None)
    image.set_sform(affine_of(sizes=(2, 2, 2)), 4)
    nib.save(image, path)
    read = read_volume(path)
    write_volume(tmp_path / "out.nii", read, like=read.meta)
    assert nib.load(tmp_path / "out.nii").get_sform(coded=True)[1] == 4


def test_no_sform_and_no_qform_is_a_warning_and_round_trips(path, tmp_path):
    image = nib.Nifti1Image(NUMBERS, None)
    image.header.set_zooms((1, 2, 3))
    nib.save(image, path)
    read = read_volume(path)
    assert len(read.meta["warnings"]) == 1 and "no sform or qform" in read.meta["warnings"][0]
    assert np.linalg.norm(read.affine[:3, :3], axis=0).tolist() == [1, 2, 3]
    write_volume(tmp_path / "same.nii", read, like=read.meta)
    assert int(nib.load(tmp_path / "same.nii").header["sform_code"]) == 0
    np.testing.assert_allclose(nib.load(tmp_path / "same.nii").affine, read.affine)
    moved = read.affine.numpy() @ affine_of(origin=(0, 0, 1))
    write_volume(tmp_path / "moved.nii", read, moved, like=read.meta)
    np.testing.assert_allclose(nib.load(tmp_path / "moved.nii").affine, moved)


@pytest.mark.parametrize(("unit", "factor", "count"), [(1, 1e3, 1), (2, 1, 0), (3, 1e-3, 1), (0, 1, 0), (7, 1, 0)])
def test_units_of_length(path, unit, factor, count):
    read = read_volume(saved(path, xyzt_units=unit))
    np.testing.assert_allclose(read.affine[:3, :3], factor * np.eye(3))
    assert len(read.meta["warnings"]) == count


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 1, 1), (4, 6, 1, 1, 1)])
def test_one_slice_and_trailing_axes(path, shape):
    array = np.arange(24, dtype=np.float32).reshape(shape)
    assert read_volume(saved(path, array)).shape == (1, 4, 6, 1)


def test_trailing_axes_of_a_volume(path):
    image = read_volume(saved(path, NUMBERS[..., None]))
    np.testing.assert_array_equal(image.numpy()[0], NUMBERS)
    assert image.meta["shape"] == (2, 3, 4, 1)


# writing


def test_write_refusals(tmp_path):
    for name in ("a.jpg", "a.txt", "a", "a.mhd"):
        with pytest.raises(InputError, match="cannot be written"):
            write_volume(tmp_path / name, NUMBERS, np.eye(4))
    for name, array in (("a.nii", np.ones((2, 2))), ("a.nii", np.ones((2, 2, 2, 2))), ("a.png", NUMBERS)):
        with pytest.raises(InputError, match="shape"):
            write_volume(tmp_path / name, array, np.eye(4))
    with pytest.raises(ValueError, match="NaN"):
        write_volume(tmp_path / "a.nii", np.full((2, 2, 2), np.nan), np.eye(4))
    with pytest.raises(ValueError, match="affine"):
        write_volume(tmp_path / "a.nii", NUMBERS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [".nii.gz", ".nrrd", ".mha"])
def test_integers_are_rounded_and_clipped(tmp_path, end):
    array = np.array([-3.0, 0.4, 0.6, 254.6, 300.0, 7.0]).reshape(1, 2, 3)
    image = read_volume(write_volume(tmp_path / f"a{end}", array, np.eye(4), dtype="uint8"))
    assert image.meta["dtype"] == "uint8"
    np.testing.assert_array_equal(image.numpy().ravel(), [0, 0, 1, 255, 255, 7])


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_writer_that_raises_leaves_the_folder_as_it_was(tmp_path, old):
    path = tmp_path / "out.nii.gz"
    if old:
        path.write_bytes(old)
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"half")
        raise RuntimeError
    with pytest.raises(ValueError):
        write_json(path, {"value": float("nan")})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"out.nii.gz": old} if old else {})


def test_writers_make_folders_and_replace(tmp_path):
    path = write_bytes(tmp_path / "new" / "deep" / "a.bin", b"one")
    assert write_bytes(path, b"two").read_bytes() == b"two"
    value = {"name": "größe", "list": [1, 2.5, None]}
    text = write_json(tmp_path / "a.json", value).read_text("utf-8")
    assert json.loads(text) == value and "größe" in text and text.endswith("}\n") and '\n  "list"' in text

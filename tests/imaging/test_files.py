"""Volumes and pictures from and to files: round trips, geometry, and one line for everything that cannot be read."""

import gzip
import itertools
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffzoo.errors import InputError
from diffzoo.imaging.cases import cases_at, stored_shape
from diffzoo.imaging.files import (
    atomic,
    case_name,
    case_names,
    find_cases,
    read_volume,
    suffix_of,
    write_bytes,
    write_json,
    write_volume,
)

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
examples = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rotation(x, y, z):
    """Rotation [3, 3] by three angles in radians about the three axes."""
    turn = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        step, (i, j) = np.eye(3), [k for k in range(3) if k != axis]
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def affine_of(matrix=None, sizes=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if matrix is None else matrix) * np.asarray(sizes)
    affine[:3, 3] = origin
    return affine


@st.composite
def geometries(draw):
    """(shape, affine): odd and single sizes, anisotropic voxels, axes in any order and direction, oblique."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=3, max_size=3).filter(lambda s: np.prod(s) > 1)))
    order, signs = draw(st.permutations(range(3))), draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    turn = rotation(*draw(st.tuples(*[st.floats(-0.7, 0.7)] * 3))) if draw(st.booleans()) else np.eye(3)
    sizes = draw(st.tuples(*[st.floats(0.3, 6)] * 3))
    return shape, affine_of(turn @ np.eye(3)[:, order] * signs, sizes, draw(st.tuples(*[st.floats(-200, 200)] * 3)))


def refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    said = message.removeprefix(str(path))  # the test's own name is in the path
    assert all(word in said for word in words), message
    return said


def saved(path, array=NUMBERS, affine=None, **header):
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


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
        np.testing.assert_allclose(LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(voxel), (affine @ [*voxel, 1])[:3], atol=1e-6)


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
        assert (read.meta["sform_code"], read.meta["qform_code"], read.meta["warnings"]) == (scode, qcode, [])


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


# refusals


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


# cases


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0" * 128 + b"DICM" if name.endswith(".dcm") else b"x")


def test_find_cases(tmp_path):
    touch(tmp_path, "b.nii.gz", "a.PNG", "k.h5", "notes.txt", ".hidden.nii", "two/deep/1.dcm", "two/deep/2.dcm", "empty/x.txt")
    touch(tmp_path, "sub/c.nii")  # volumes of a folder below are not taken
    found = [p.relative_to(tmp_path).as_posix() for p in find_cases(tmp_path)]
    assert found == ["a.PNG", "b.nii.gz", "k.h5", "two/deep"]
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
    for paths, word in ((tmp_path / "empty", "no image found"), ([], "no input"), (tmp_path / "scann.nii", "did you mean scan.nii")):
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

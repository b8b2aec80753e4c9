"""DICOM series made here: geometry, order, units, and one line for every series that is not one volume."""

import warnings
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_toy import PATIENT, dataset, plane, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from diffzoo.errors import InputError
from diffzoo.imaging.io.dicom import has_dicom, is_dicom
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.io.tree import find_cases

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value).removeprefix(str(path))
    assert "\n" not in message and PATIENT not in message and all(word in message for word in words), message
    return message


@st.composite
def places(draw):
    turn = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 999))).normal(size=(3, 3)))[0]
    number = st.floats(0.3, 5)
    origin = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return SimpleNamespace(row=turn[0], column=turn[1], origin=origin, size=draw(st.tuples(number, number)), step=draw(number))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places(), st.permutations(range(4)))
def test_every_voxel_lies_where_the_standard_puts_it(tmp_path, place, order):
    folder = save(tmp_path, *[dataset(i, place) for i in order])  # file names say nothing of the order
    image = read_volume(folder)
    assert image.shape == (1, 5, 4, 4)
    row, column, origin = (np.array(v, float) for v in (place.row, place.column, place.origin))
    for i, (down, across) in ((0, (0, 0)), (1, (3, 0)), (2, (0, 4)), (3, (2, 1))):
        # DICOM PS3.3 C.7.6.2.1.1: column index times column spacing along the row direction, and so for rows
        world = origin + i * place.step * np.cross(row, column) + across * place.size[1] * row + down * place.size[0] * column
        index = np.linalg.solve(image.affine.numpy(), [*(LPS[:3, :3] @ world), 1])[:3]
        np.testing.assert_allclose(index, np.round(index), atol=1e-5)
        assert image[(0, *np.round(index).astype(int))] == plane(i)[down, across]


def test_agrees_with_itk(tmp_path):
    place = SimpleNamespace(row=(0, 0.8, -0.6), column=(0, -0.6, -0.8), origin=(1, 2, 3), size=(2.0, 0.5), step=1.25)
    folder = save(tmp_path, *[dataset(i, place) for i in (2, 0, 1)])
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    theirs, ours = sitk.ReadImage(names), read_volume(folder)
    for voxel in ((0, 0, 0), (4, 3, 2), (1, 2, 0)):
        world = LPS @ [*theirs.TransformIndexToPhysicalPoint(voxel), 1]
        index = np.linalg.solve(ours.affine.numpy(), world)[:3]
        assert ours[(0, *np.round(index).astype(int))] == theirs[voxel]
        np.testing.assert_allclose(index, np.round(index), atol=1e-5)


def test_rescale_of_each_slice(tmp_path):
    slices = [dataset(i, RescaleSlope=0.5 + i, RescaleIntercept=-1000) for i in range(3)]
    image = read_volume(save(tmp_path, *slices)).numpy()[0]
    for i in range(3):
        np.testing.assert_allclose(image[:, :, i], ((0.5 + i) * plane(i).astype(float) - 1000).T)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_stored_types(tmp_path, dtype):
    pixels = (np.arange(20).reshape(4, 5) - 7 * (dtype == "int16")).astype(dtype)
    image = read_volume(save(tmp_path, dataset(pixels=pixels)))
    assert image.meta["dtype"] == dtype
    np.testing.assert_array_equal(image.numpy()[0, ..., 0], pixels.T)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_inverted_grey_values_are_turned_bright(tmp_path, dtype):
    pixels = np.array([[0, 1, 100], [7, 50, 4095]]).astype(dtype) - (2048 if dtype == "int16" else 0)
    pixels = pixels.astype(dtype)
    data = dataset(pixels=pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    data.RescaleSlope, data.RescaleIntercept = 2, 10
    image = read_volume(save(tmp_path, data))
    lowest, highest = (0, 4095) if dtype == "uint16" else (-2048, 2047)
    np.testing.assert_allclose(image.numpy()[0, ..., 0], (2 * (lowest + highest - pixels.astype(float)) + 10).T)
    assert "MONOCHROME1" in image.meta["warnings"][0]


def test_compressed_pixels(tmp_path):
    datasets = [dataset(i) for i in range(3)]
    for data in datasets:
        data.compress(RLELossless)
    image = read_volume(save(tmp_path / "rle", *datasets))
    np.testing.assert_array_equal(image.numpy()[0], np.stack([plane(i).T for i in range(3)], -1))
    source = sitk.GetImageFromArray(np.arange(1024, dtype=np.int16).reshape(1, 32, 32))
    source.SetMetaData("0028|1053", "2")
    source.SetMetaData("0028|1052", "-5")
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "j2k.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.Execute(source)
    header = pydicom.dcmread(tmp_path / "j2k.dcm")
    assert header.file_meta.TransferSyntaxUID.is_compressed and (header.RescaleSlope, header.RescaleIntercept) == (2, -5)
    read = read_volume(tmp_path / "j2k.dcm").numpy()[0, ..., 0]
    np.testing.assert_allclose(read, np.arange(1024).reshape(32, 32).T, atol=1)  # rescaled once: stored are halves, rounded


def test_no_patient_in_meta(tmp_path):
    image = read_volume(save(tmp_path, dataset(0), dataset(1)))
    text = repr(dict(image.meta))
    assert not any(word in text for word in (PATIENT, "Jane", "ID4711", "19700101"))
    wanted = {"kind": "dicom", "modality": "CT", "series_description": "t1 axial", "shape": (5, 4, 2), "warnings": []}
    assert {key: image.meta[key] for key in wanted} == wanted


def test_one_slice_and_one_file_of_a_series(tmp_path):
    folder = save(tmp_path, dataset(0, SpacingBetweenSlices=4), dataset(1), dataset(2, SliceThickness=None))
    for name, thickness in (("0.dcm", 4), ("1.dcm", 3), ("2.dcm", 1)):
        image = read_volume(folder / name)
        index = int(name[0])
        np.testing.assert_array_equal(image.numpy()[0, ..., 0], plane(index).T)
        expected = np.array([[0.5, 0, 0, -10], [0, 2, 0, -20], [0, 0, thickness, 30 + 3 * index], [0, 0, 0, 1]])
        np.testing.assert_allclose(image.affine, LPS @ expected)
        assert any("thickness" in w for w in image.meta["warnings"]) == (index == 2)


@pytest.mark.parametrize("spacing", [None, [0.2, 0.3]])
def test_plain_film_without_a_place(tmp_path, spacing):
    data = dataset(ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
    if spacing:
        data.ImagerPixelSpacing = spacing
    image = read_volume(save(tmp_path, data))
    down, across = spacing or (1, 1)
    np.testing.assert_allclose(image.affine, LPS @ np.diag([across, down, 1, 1]))
    assert "not stated" in image.meta["warnings"][0] and ("1 mm" in image.meta["warnings"][0]) == (spacing is None)


def test_tilted_gantry_is_a_shear_with_a_warning(tmp_path):
    slices = [dataset(i, ImagePositionPatient=[0, i * 1.0, i * 3.0]) for i in range(3)]
    image = read_volume(save(tmp_path, *slices))
    np.testing.assert_allclose(image.affine[:3, 2], [0, -1, 3], atol=1e-9)
    assert "tilt" in image.meta["warnings"][0]


def test_other_files_are_ignored(tmp_path):
    folder = save(tmp_path, dataset(0), dataset(1), names=["IM1", "IM2"])
    report = dataset(0, uid="9.9", Rows=None, Columns=None, PixelData=None, BitsAllocated=None, SOPClassUID=BasicTextSRStorage)
    report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(folder / "report.dcm", enforce_file_format=True)
    for name, content in (
        ("notes.txt", b"words"),
        ("DICOMDIR", b"\0" * 128 + b"DICM"),
        (".x.dcm", b"x"),
    ):
        (folder / name).write_bytes(content)
    (folder / "below").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_volume(folder).shape == (1, 5, 4, 2)
    assert find_cases(folder) == [folder]
    assert [is_dicom(folder / n) for n in ("IM1", "notes.txt", "DICOMDIR", "below")] == [True, False, False, False]
    assert has_dicom(folder) and not has_dicom(folder / "below")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_old_files_without_the_mark(tmp_path, syntax):
    for i in range(2):
        data = dataset(i)
        del data.file_meta
        implicit = syntax == ImplicitVRLittleEndian
        pydicom.dcmwrite(tmp_path / f"{i}.ima", data, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert (tmp_path / f"{i}.ima").read_bytes()[128:132] != b"DICM"
    image = read_volume(tmp_path)
    np.testing.assert_array_equal(image.numpy()[0], np.stack([plane(i).T for i in range(2)], -1))


# refusals


def test_mixed_series_are_listed(tmp_path):
    others = [dataset(i, uid=f"1.2.{k}", SeriesNumber=k, SeriesDescription=f"run {k}") for k in range(4, 6) for i in range(k - 2)]
    message = refused(save(tmp_path / "two", *others), "2 series", "4 'run 4' (2 files", "5 'run 5' (3 files")
    assert "more" not in message
    many = [dataset(0, uid=f"1.2.{k}", SeriesNumber=k) for k in range(11)]
    refused(save(tmp_path / "many", *many), "11 series", "and 3 more")


def test_missing_slice_names_its_neighbours(tmp_path):
    refused(save(tmp_path, *[dataset(i) for i in (0, 1, 2, 4, 5)]), "missing", "6 mm between 2.dcm and 3.dcm where 3 mm")


def test_two_images_at_one_place(tmp_path):
    refused(save(tmp_path, dataset(0), dataset(1), dataset(1)), "2 images at one place")


def test_copies_of_a_slice_are_passed_over_with_a_note(tmp_path):
    slices = [dataset(i) for i in range(3)]
    folder = save(tmp_path, *slices, slices[1], slices[1])
    image = read_volume(folder)
    np.testing.assert_array_equal(image.numpy()[0], np.stack([plane(i).T for i in range(3)], -1))
    assert image.meta["warnings"] == ["2 copies of slices were passed over (equal SOPInstanceUID), the first 3.dcm"]


def test_an_equal_uid_of_other_pixels_or_another_place_is_no_copy(tmp_path):
    first = dataset(0)
    other = dataset(0, pixels=plane(5), SOPInstanceUID=first.SOPInstanceUID)
    refused(save(tmp_path / "pixels", first, dataset(1), other), "2 images at one place")
    elsewhere = [dataset(i, SOPInstanceUID="1.2") for i in range(3)]  # anonymised without care
    assert read_volume(save(tmp_path / "place", *elsewhere)).shape == (1, 5, 4, 3)


def test_slices_with_a_series_uid_each_are_stacked_with_a_note(tmp_path):
    slices = [dataset(i, uid=f"1.2.{i}") for i in (2, 0, 1)]
    image = read_volume(save(tmp_path / "canon", *slices))
    np.testing.assert_array_equal(image.numpy()[0], np.stack([plane(i).T for i in range(3)], -1))
    assert image.meta["warnings"] == ["every slice has a series UID of its own: stacked by their places"]
    strangers = [dataset(i, uid=f"1.2.{i}", StudyInstanceUID=f"9.{i}") for i in range(3)]
    refused(save(tmp_path / "studies", *strangers), "3 series")
    refused(save(tmp_path / "gap", *(dataset(i, uid=f"1.2.{i}") for i in (0, 1, 3, 4))), "4 series")


def test_words_under_the_name_of_a_slice_are_named(tmp_path):
    folder = save(tmp_path, dataset(0), dataset(1))
    (folder / "bad.dcm").write_bytes(b"words" * 99)
    refused(folder, "bad.dcm", "holds no picture")


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("name", ["IM9", "9.dcm"])
def test_a_slice_that_is_cut_short_is_named_even_at_the_end_of_a_stack(tmp_path, share, name):
    folder = save(tmp_path, *(dataset(i) for i in range(4)))
    whole = (folder / "3.dcm").read_bytes()
    (folder / "3.dcm").unlink()
    (folder / name).write_bytes(whole[: max(200, int(share * len(whole)))])
    refused(folder, name)


@pytest.mark.parametrize("content", [b"/annex/objects/MD5-s5--1\n", b"version https://git-lfs.github.com/spec/v1\noid 1\n"])
def test_a_pointer_in_place_of_a_slice_is_named(tmp_path, content):
    folder = save(tmp_path, dataset(0), dataset(1))
    (folder / "2").write_bytes(content)
    refused(folder, "2: is a pointer", "fetch it first")


def test_slices_off_their_line(tmp_path):
    slices = [dataset(i, ImagePositionPatient=[(i == 1) * 5.0, 0, i * 3.0]) for i in range(3)]
    refused(save(tmp_path, *slices), "do not lie on a line")


def test_unlike_slices(tmp_path):
    refused(save(tmp_path / "size", dataset(0), dataset(1, pixels=plane(1, (6, 5)))), "5 x 4 in 0.dcm", "5 x 6 in 1.dcm")
    turned = dataset(1, ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    refused(save(tmp_path / "turn", dataset(0), turned), "orientation differs", "1.dcm")
    refused(save(tmp_path / "pixel", dataset(0), dataset(1, PixelSpacing=[1, 1])), "pixel spacing differs")


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_series_without_a_place(tmp_path, tag):
    refused(save(tmp_path, dataset(0), dataset(1, **{tag: None})), f"1.dcm has no {tag}")


def test_mosaic_multi_frame_and_colour(tmp_path):
    refused(save(tmp_path / "mosaic", dataset(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])), "mosaic", "dcm2niix")
    frames = dataset(NumberOfFrames=2, PixelData=plane(0).tobytes() * 2)
    refused(save(tmp_path / "frames", frames), "multi-frame", "dcm2niix")
    enhanced = dataset(NumberOfFrames=1, SharedFunctionalGroupsSequence=[pydicom.Dataset()], ImagePositionPatient=None)
    refused(save(tmp_path / "enhanced", enhanced), "enhanced")
    colour = dataset(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    colour.PixelData = plane(0).tobytes() * 3
    refused(save(tmp_path / "colour", colour), "colour")


def test_values_that_are_not_numbers(tmp_path):
    path = save(tmp_path, dataset(0)) / "0.dcm"
    data = path.read_bytes()
    assert data.count(b"-10.0") == 1
    path.write_bytes(data.replace(b"-10.0", b"-1x.0"))
    refused(path, "header is damaged", "-1x.0")


def test_no_or_too_few_pixels(tmp_path):
    refused(save(tmp_path / "none", dataset(PixelData=None)), "pixels cannot be read")
    refused(save(tmp_path / "few", dataset(PixelData=b"\0" * 10)), "pixels cannot be read")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no DICOM")

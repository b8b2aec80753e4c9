"""Files as people have them: odd names, headers that disagree, links that lead nowhere, frames, padding, compressed films."""

import gzip

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_toy import dataset, plane, save

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.io.frames import frames_of, read_frame
from diffzoo.imaging.io.tree import find_cases

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
NUMBERS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def stored(path, array=NUMBERS, sform=AFFINE, qform=AFFINE, codes=(1, 1), units="mm"):
    image = nib.Nifti1Image(array, AFFINE)
    image.set_qform(qform, codes[1])
    image.set_sform(sform, codes[0])
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path


def test_gzip_is_told_by_the_content_not_by_the_name(tmp_path):
    plain, packed = stored(tmp_path / "a.nii"), stored(tmp_path / "b.nii.gz")
    plain.rename(tmp_path / "plain.nii.gz")
    packed.rename(tmp_path / "packed.nii")
    for name in ("plain.nii.gz", "packed.nii"):
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.numpy()[0], NUMBERS) and np.allclose(volume.affine, AFFINE)


def test_an_sform_and_a_qform_that_disagree_are_warned_of(tmp_path):
    apart = AFFINE.copy()
    apart[0, 3] = 2.5
    [warning] = read_volume(stored(tmp_path / "apart.nii", qform=apart)).meta["warnings"]
    assert "disagree by up to 2.5 mm" in warning and "sform is taken" in warning
    apart[0, 3] = 0.5  # less than a voxel
    assert read_volume(stored(tmp_path / "near.nii", qform=apart)).meta["warnings"] == []


def test_an_empty_sform_gives_way_to_a_good_qform(tmp_path):
    path = stored(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(raw)
    volume = read_volume(path)
    assert np.allclose(volume.affine, AFFINE) and "sform is empty" in volume.meta["warnings"][0]


def test_a_quaternion_a_hair_longer_than_one_is_read(tmp_path):
    turned = np.diag([-2.0, -2.0, 3.0, 1.0])  # half a turn: b, c, d = 0, 0, 1
    path = stored(tmp_path / "a.nii", qform=turned, codes=(0, 1))
    raw = bytearray(path.read_bytes())
    raw[264:268] = np.float32(1.0001).tobytes()  # quatern_d
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="w2"):
        nib.load(path)
    assert np.allclose(read_volume(path).affine, turned, atol=1e-3)


def test_a_frame_is_read_with_every_check_of_a_volume(tmp_path):
    frames = np.stack([NUMBERS, NUMBERS + 100], -1)
    path = stored(tmp_path / "cine.nii.gz", frames, sform=AFFINE / [[1e3], [1e3], [1e3], [1]], codes=(1, 0), units="meter")
    assert frames_of(path) == frames.shape
    frame = read_frame(path, 1)
    assert np.array_equal(frame.numpy()[0], NUMBERS + 100) and np.allclose(frame.affine, AFFINE)
    assert "changed to mm" in frame.meta["warnings"][0]
    with pytest.raises(InputError, match="frames 0 to 1, not 2"):
        read_frame(path, 2)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cut short"):
        read_volume(cut, frame=0)
    bare = stored(tmp_path / "bare.nii", frames, codes=(0, 0))
    assert "no sform or qform" in read_frame(bare, 0).meta["warnings"][0]
    stored(tmp_path / "complex.nii", frames.astype(np.complex64))
    with pytest.raises(InputError, match="complex"):
        read_frame(tmp_path / "complex.nii", 0)


def test_links_that_lead_nowhere_are_named(tmp_path):
    stored(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").symlink_to(tmp_path / "annex" / "b")
    for given in (tmp_path, tmp_path / "b.nii.gz"):
        with pytest.raises(InputError, match=r"b\.nii\.gz: is a link to a file that is not there"):
            find_cases(given)
    series = save(tmp_path / "series", dataset(0), dataset(1))
    (series / "2.dcm").symlink_to(tmp_path / "annex" / "2")
    with pytest.raises(InputError, match=r"2\.dcm: is a link"):
        read_volume(series)


def test_a_broken_file_in_a_series_is_named_not_passed_over(tmp_path):
    series = save(tmp_path / "series", dataset(0), dataset(1))
    (series / "2.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"2\.dcm: is named or marked as DICOM"):
        read_volume(series)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", ["JPEG2000", "JPEG", "RLE", "plain"])
def test_every_syntax_gives_what_the_plain_file_gives(tmp_path, syntax, photometric, signed):
    pixels = (np.arange(1024, dtype=np.int32).reshape(32, 32) * 7 - (90 if signed else 0)).astype(
        np.int16 if signed else np.uint16
    )
    tags = {"PhotometricInterpretation": photometric, "RescaleSlope": 2, "RescaleIntercept": 10}
    data = dataset(pixels=pixels, **tags)
    data.add_new("PixelPaddingValue", "SS" if signed else "US", int(pixels[0, 3]))
    expected = read_volume(save(tmp_path / "expected", data))
    turned = {"MONOCHROME1": (-1 if signed else 65535) - pixels.astype(float), "MONOCHROME2": pixels.astype(float)}[photometric]
    bright = 2 * turned + 10
    bright[0, 3] = np.delete(bright.ravel(), 3).min()
    assert np.allclose(expected.numpy()[0, ..., 0], bright.T)
    if syntax == "RLE":
        data.compress(pydicom.uid.RLELossless)
    elif syntax != "plain":
        data = _by_itk(tmp_path / "itk.dcm", pixels, syntax, data)
    volume = read_volume(save(tmp_path / "given", data))
    assert np.allclose(volume.numpy(), expected.numpy()) and len(volume.meta["warnings"]) == len(expected.meta["warnings"])


def _by_itk(path, pixels, compressor, like):
    """The same slice with pixels that ITK has compressed."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(pixels[None]))
    data = pydicom.dcmread(path)
    data["PixelPaddingValue"] = like["PixelPaddingValue"]
    for tag in ("PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
        setattr(data, tag, like[tag].value)
    for tag in ("ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "SeriesInstanceUID", "Modality"):
        setattr(data, tag, like[tag].value)
    assert data.file_meta.TransferSyntaxUID.is_compressed
    return data


def test_padding_is_the_least_value_on_unsigned_data_too(tmp_path):
    pixels = plane(3)
    pixels[0, 0] = 63536  # -2000 as an unsigned number
    data = dataset(pixels=pixels, RescaleIntercept=-1024, RescaleSlope=1)
    data.add_new("PixelPaddingValue", "US", 63536)
    image = read_volume(save(tmp_path, data))
    assert image.numpy()[0, 0, 0, 0] == 301 - 1024 == image.numpy().min() and "padding" in image.meta["warnings"][0]


def test_a_range_of_padding_is_the_least_valid_value(tmp_path):
    pixels = plane(3)
    pixels[0, :3] = (63530, 63533, 63536)
    data = dataset(pixels=pixels, RescaleIntercept=-1024, RescaleSlope=1)
    for tag, value in (("PixelPaddingValue", 63536), ("PixelPaddingRangeLimit", 63530)):
        data.add_new(tag, "US", value)
    image = read_volume(save(tmp_path, data)).numpy()
    assert image.max() < 10_000 and (image == image.min()).sum() >= 3


def test_gzip_of_a_second_version_is_read(tmp_path):
    nib.save(nib.Nifti2Image(NUMBERS, AFFINE), tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    assert np.array_equal(read_volume(tmp_path / "b.nii").numpy()[0], NUMBERS)

"""Places in words and numbers: each is checked against a voxel whose side and slice are known by construction."""

import nibabel as nib
import numpy as np
import pytest

from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.positions import UNKNOWN, placed, side_of, stated, taken

SHAPE = (20, 30, 10)
RAS = np.array([[2.0, 0, 0, -20], [0, 2.0, 0, -30], [0, 0, 5.0, -25], [0, 0, 0, 1]])
LPI = RAS @ np.array([[-1, 0, 0, 19], [0, -1, 0, 29], [0, 0, -1, 9], [0, 0, 0, 1.0]])  # the same places, every axis flipped
ASR = RAS[:, [1, 2, 0, 3]]  # the same places, axes A, S, R


def told(affine, shape, place, middle=0.0):
    [region] = placed([{"ml": 1.0, "centre_mm": place}], affine, shape, middle)
    return region


@pytest.mark.parametrize(
    ("affine", "shape", "voxel"),
    [(RAS, SHAPE, [15, 20, 7]), (LPI, SHAPE, [4, 9, 2]), (ASR, (30, 10, 20), [20, 7, 15])],
    ids=["RAS", "LPI", "ASR"],
)
def test_one_place_has_one_side_and_one_slice_however_the_axes_lie(affine, shape, voxel):
    region = told(affine, shape, [10.0, 10.0, 10.0])
    assert region["side"] == "right of the person" and region["voxel"] == voxel and region["ml"] == 1.0
    assert region["slice"] == {"plane": "axial", "counted_from": "feet", "number": 7}


def test_the_slice_is_counted_in_the_plane_in_which_the_volume_was_sliced():
    thick = np.diag([1.0, 6.0, 1.0, 1.0])
    assert told(thick, (40, 8, 40), [3.0, 18.0, 5.0])["slice"] == {"plane": "coronal", "counted_from": "back", "number": 3}


def test_sides_are_seen_from_the_middle_of_the_person_not_from_the_scanner():
    assert side_of(40, 60) == "left of the person" and side_of(40, 20) == "right of the person" and side_of(40, 42) == "middle"
    assert told(RAS, SHAPE, [10.0, 0, 0], middle=18.0)["side"] == "left of the person"


def test_no_side_is_told_where_the_header_states_no_orientation():
    assert told(RAS, SHAPE, [10.0, 0, 0], middle=None)["side"] == UNKNOWN
    assert stated("lengths are stored in metres: changed to mm") and stated("")


def unstated_nifti(folder):
    image = nib.Nifti1Image(np.arange(27.0).reshape(3, 3, 3), None)
    nib.save(image, folder / "a.nii")
    return folder / "a.nii"


def unstated_nrrd(folder):
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n"
    (folder / "a.nrrd").write_bytes(header.encode() + bytes(range(8)))
    return folder / "a.nrrd"


@pytest.mark.parametrize("write", [unstated_nifti, unstated_nrrd])
def test_readers_warn_of_an_unstated_orientation_in_words_that_are_seen(write, tmp_path):
    assert not stated("\n".join(read_volume(write(tmp_path)).meta["warnings"]))


def test_slices_taken_name_their_plane_and_the_end_they_are_counted_from():
    sagittal = np.array([[0, 0, 3.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    assert taken(np.array([4, 5]), sagittal) == {"plane": "sagittal", "counted_from": "left", "numbers": [4, 5]}

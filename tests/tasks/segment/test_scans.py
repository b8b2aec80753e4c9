"""From an image to a patch and back: places, windows, pictures, and what is refused."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from diffzoo.errors import InputError
from diffzoo.tasks.segment.scans import LoadPatch, cut, place, put_back, window_of

PLANE = np.diag([0.5, 0.5, 3.0, 1.0])


def volume(shape, spot, affine=PLANE) -> MetaTensor:
    """Air with one bright voxel (HU)."""
    x = torch.full(shape, -1000.0)
    x[spot] = 1800.0
    return MetaTensor(x, affine=torch.from_numpy(affine))


def peak(patch) -> tuple:
    return tuple(int(k) for k in np.unravel_index(int(torch.as_tensor(patch)[0].argmax()), patch.shape[1:]))


def test_the_middle_of_the_image_is_the_middle_of_the_patch():
    item = LoadPatch(size=17)({"image": volume((41, 33, 2), (20, 16, 1))})
    assert item["patch"].shape == (1, 17, 17, 2)
    assert peak(item["patch"]) == (8, 8, 1)
    assert item["patch"].max() == pytest.approx(1) and item["slice_index"].tolist() == [0, 1]


@pytest.mark.parametrize("flips", [(), (0,), (1,), (0, 1, 2)])
def test_a_centre_is_a_voxel_of_the_file_however_it_lies(flips):
    affine = PLANE.copy()
    for axis in flips:
        affine[axis, axis] *= -1
    item = LoadPatch(size=17, centre="9,22,3")({"image": volume((41, 33, 5), (9, 22, 3), affine)})
    assert item["patch"].shape == (1, 17, 17, 1) and peak(item["patch"]) == (8, 8, 0)
    of_case = LoadPatch(size=17)({"image": volume((41, 33, 5), (9, 22, 3), affine), "centre": "9,22,3"})
    assert torch.equal(of_case["patch"], item["patch"])


def test_a_whole_slice_without_a_centre_is_refused():
    wide = volume((300, 260, 2), (150, 130, 1))
    with pytest.raises(InputError, match=r"a field of 150 x 130 mm is more than a patch .* --set centre=x,y,z"):
        LoadPatch(size=17)({"image": wide})
    assert LoadPatch(size=17, centre="150,130,1")({"image": wide})["patch"].shape == (1, 17, 17, 1)


def test_a_volume_stored_with_its_slices_in_the_middle():
    affine = np.diag([0.5, 3.0, 0.5, 1.0])
    item = LoadPatch(size=17, centre="9,2,22")({"image": volume((41, 4, 33), (9, 2, 22), affine)})
    assert item["patch"].shape == (1, 17, 17, 1) and peak(item["patch"]) == (8, 8, 0)


def test_pixels_of_another_size_are_resampled():
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    x = torch.full((40, 40, 1), -1000.0)
    x[18:22, 18:22] = 1800.0  # 4 mm, so 8 pixels of the patch
    item = LoadPatch(size=32)({"image": MetaTensor(x, affine=torch.from_numpy(affine))})
    assert int((item["patch"] > 0.5).sum()) == 64


def test_a_mask_comes_back_to_where_it_was_cut():
    generator = torch.Generator().manual_seed(0)
    slices = torch.rand((2, 3, 40, 36), generator=generator)
    matrix = place((40, 36), (17.5, 20.5), (1.0, 1.0), 12)
    back = put_back(cut(slices, matrix, 12), matrix, (40, 36))
    inside = (slice(None), slice(None), slice(12, 24), slice(15, 27))
    torch.testing.assert_close(back[inside], slices[inside], atol=1e-4, rtol=0)
    assert not back[..., :10, :].any() and not back[..., 28:].any()


def test_a_picture_is_taken_as_it_is_with_its_readers(tmp_path):
    picture = np.zeros((40, 40), np.uint8)
    picture[20, 18] = 255
    Image.fromarray(picture).save(tmp_path / "p.png")
    Image.fromarray(np.where(picture > 0, 130, 120).astype(np.uint8)).save(tmp_path / "r.png")
    entry = {"image": str(tmp_path / "p.png"), "mask": [str(tmp_path / "r.png")] * 2}
    item = LoadPatch(size=16)(entry)
    assert item["readers"].shape == (2, 40, 40, 1)
    marked = item["readers"].as_tensor() > 0  # what is above half of 255, on the picture's own pixel
    assert marked.sum() == 2 and torch.equal(marked[1], item["image"].as_tensor()[0] > 200)
    assert item["patch"].max() > 0.2 and "taken for 0.5 mm" in item["notes"] and "mask" not in item and not item["sized"]


@pytest.mark.parametrize(
    ("window", "values", "expected"),
    [
        ("auto", (0.0, 200.0), (0.0, 255.0)),
        ("auto", (-1000.0, 200.0), (-1000.0, 1800.0)),
        ("auto", (0.0, 3000.0), (-1000.0, 1800.0)),
        ("-600:400", (0.0, 200.0), (-600.0, 400.0)),
    ],
)
def test_windows(window, values, expected):
    assert window_of(window, MetaTensor(torch.tensor(values))) == expected


@pytest.mark.parametrize("settings", [{"centre": "9"}, {"centre": "9,99"}, {"centre": "a,b"}, {"window": "5:1"}, {"window": "x"}])
def test_what_cannot_be_is_told(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        LoadPatch(**settings)({"image": volume((41, 33, 2), (20, 16, 1))})


def test_values_that_are_no_hu_are_told():
    x = torch.linspace(0, 4000, 40 * 40).reshape(40, 40, 1)
    stored = MetaTensor(x, affine=torch.from_numpy(PLANE))
    assert "set window" in LoadPatch()({"image": stored})["notes"]
    assert LoadPatch(window="0:4000")({"image": stored})["notes"] == ""
    assert LoadPatch()({"image": stored - 1000})["notes"] == ""


def test_small_slices_are_refused():
    with pytest.raises(InputError, match="too small"):
        LoadPatch()({"image": volume((12, 40, 4), (0, 0, 0), np.diag([0.5, 0.5, 9, 1]))})

"""The items of a translation from cone-beam CT: what they hold, in which units, on which grid, and what is refused."""

import numpy as np
import pytest
import torch
from ct_toy import AFFINE, body, write

from diffzoo.errors import InputError
from diffzoo.imaging.cone_beam import OtherWindow
from diffzoo.imaging.edges import to_units
from diffzoo.imaging.heads import BackToScan
from diffzoo.tasks.translate.ct import LoadCT, plane_grid

TURNED = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def paths(tmp_path):
    return {"image": write(tmp_path / "a_cbct.nii.gz", body() - 60), "ct": write(tmp_path / "a_ct.nii.gz")}


def test_an_item_has_what_every_translation_has(paths):
    item = LoadCT(grid_mm=3.0)({**paths, "cbct": paths["image"], "case": "a"})
    shape = item["image"].shape[1:]
    assert item["image"].shape == item["truth"].shape == item["inside"].shape == (1, *shape)
    assert shape[0] % 16 == 0 and shape[1] % 16 == 0 and shape[2] == 6
    assert item["given"].tolist() == item["wanted"].tolist() == item["known"].tolist() == [1.0]
    assert item["position"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert item["slice_index"].tolist() == list(range(6)) and item["inside"].dtype == torch.bool
    assert item["given_roles"] == item["first"] == "cbct" and item["case"] == "a" and "ct" not in item and "cbct" not in item
    assert isinstance(item["notes"], str) and item["image_path"] == paths["image"]
    assert tuple(item["scan"].shape) == (1, *body().shape) and np.allclose(item["scan"].affine, AFFINE)
    assert item["image"].meta["stored_shape"].tolist() == list(body().shape)


def test_units_and_place_are_those_of_the_scan(paths):
    item = LoadCT(grid_mm=3.0)({**paths, "cbct": paths["image"]})
    inside = item["inside"].as_tensor()
    difference = (item["truth"] - item["image"]).as_tensor()[inside]
    assert float(difference.median()) == pytest.approx(60 / 2000, abs=1e-4)
    back = BackToScan(keys=("truth",), masks=("inside",))(item)
    stored, held = torch.from_numpy(body())[None], back["inside"].as_tensor() > 0
    assert np.allclose(back["truth"].affine, AFFINE) and held.float().mean() > 0.2
    error = (back["truth"].as_tensor() - to_units(stored))[held].abs()
    assert float(error.median()) < 1e-4  # 3 mm on 3 mm, half a pixel aside at the most


def test_the_body_is_inside_and_the_couch_is_not(paths):
    back = BackToScan(masks=("inside",))(LoadCT(grid_mm=3.0)({**paths, "cbct": paths["image"]}))["inside"].as_tensor()[0] > 0
    assert back[35, 30].all() and back[26, 29].all() and not back[:, 51:].any()


def test_without_a_ct_nothing_is_known(paths):
    item = LoadCT(grid_mm=3.0)({"image": paths["image"], "cbct": paths["image"]})
    assert item["known"].item() == 0 and item["truth"].count_nonzero() == 0


def test_a_ct_alone_is_the_truth_of_what_is_simulated_from_it(paths):
    bent = OtherWindow(gamma=0.7)
    item = LoadCT(grid_mm=3.0, simulate=bent)({"image": paths["ct"], "ct": paths["ct"]})
    inside = item["inside"].as_tensor()
    wanted = to_units(bent(torch.from_numpy(body()), (3.0, 3.0), [0]))
    assert float(item["image"].as_tensor()[inside].median()) == pytest.approx(float(wanted[wanted > 0.1].median()), abs=0.02)
    scan = item["scan"].as_tensor()
    torch.testing.assert_close(scan[0], bent(torch.from_numpy(body()), (3.0, 3.0), [0]), atol=0.1, rtol=0)
    assert item["known"].item() == 1


def test_slices_are_cut_and_keep_their_numbers(paths):
    seen = []

    def simulate(hu, pixel, index):
        seen.append((tuple(hu.shape), tuple(pixel), list(index)))
        return hu

    whole = LoadCT(grid_mm=3.0)({"image": paths["image"], "cbct": paths["image"]})
    item = LoadCT(grid_mm=3.0, simulate=simulate)({"image": paths["ct"], "ct": paths["ct"], "slices": "2:5"})
    assert item["slice_index"].tolist() == [2, 3, 4] and item["scan"].shape[-1] == 3
    assert seen == [((3, 1, 72, 64), (3.0, 3.0), [2, 3, 4])]
    assert item["scan"].affine[2, 3] == whole["scan"].affine[2, 3] + 8
    np.testing.assert_allclose(item["scan"].as_tensor()[0], body()[..., 2:5])


def test_a_truth_of_another_grid_is_brought_onto_that_of_the_source(tmp_path, paths):
    fine = np.repeat(np.repeat(body(), 2, 0), 2, 1)
    affine = AFFINE @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    item = LoadCT(grid_mm=3.0)(
        {"image": paths["image"], "cbct": paths["image"], "ct": write(tmp_path / "b.nii.gz", fine, affine)}
    )
    same = LoadCT(grid_mm=3.0)({**paths, "cbct": paths["image"]})
    assert float((item["truth"] - same["truth"]).abs().mean()) < 0.01
    aside = AFFINE.copy()
    aside[0, 3] = 500
    with pytest.raises(InputError, match="another place"):
        LoadCT()({"image": paths["image"], "cbct": paths["image"], "ct": write(tmp_path / "c.nii.gz", body(), aside)})


def test_an_array_is_taken_with_voxels_of_1_mm():
    item = LoadCT(grid_mm=1.0)({"image": body()})
    assert item["image_path"] == "array" and tuple(item["scan"].shape) == (1, 72, 64, 6)


def test_spacing_out_of_range_is_noted(paths):
    item = LoadCT(grid_mm=3.0, spacing_range=(0.3, 2.0))({"image": paths["image"], "cbct": paths["image"]})
    assert "outside the training range" in item["notes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu + 1024, "not cone-beam CT in Hounsfield units"),
        (lambda hu: hu * 0 - 1000 + np.arange(6), "Hounsfield units"),
        (lambda hu: np.where(np.indices(hu.shape).sum(0) < 3, 100.0, -1000.0), "no body"),
    ],
)
def test_what_is_no_ct_in_hu_is_refused_in_one_line(tmp_path, change, words):
    path = write(tmp_path / "x.nii.gz", change(body()).astype(np.float32))
    with pytest.raises(InputError, match=words) as told:
        LoadCT()({"image": path, "cbct": path})
    assert "\n" not in str(told.value)


def test_cases_that_cannot_be_translated_are_refused(paths, tmp_path):
    for case, words in (
        ({"problem": "nothing there", "image": ""}, "nothing there"),
        ({"image": paths["ct"], "ct": paths["ct"]}, "give a cone-beam CT"),
        ({"image": np.zeros((12, 12, 4)) - 1000 + 1100 * np.eye(12)[..., None]}, "at least 16"),
    ):
        with pytest.raises(InputError, match=words):
            LoadCT()(case)
    thick = write(tmp_path / "s.nii.gz", np.moveaxis(body(), 2, 0).copy(), np.diag([9.0, 3.0, 3.0, 1.0]))
    with pytest.raises(InputError, match="not axial"):
        LoadCT()({"image": thick, "cbct": thick})
    with pytest.raises(InputError, match="grid_mm"):
        LoadCT(grid_mm=0)


def test_the_grid_of_a_whole_plane_keeps_its_middle():
    affine, shape = plane_grid(np.diag([1.5, 1.5, 3.0, 1.0]), (100, 80, 4), 2.0)
    assert shape == (75, 60, 4)
    middle = affine @ [(75 - 1) / 2, (60 - 1) / 2, 0, 1]
    np.testing.assert_allclose(middle, [1.5 * 49.5, 1.5 * 39.5, 0, 1])


def test_a_slice_is_the_same_whichever_others_are_taken(paths):
    whole, part = (LoadCT(grid_mm=3.0, slices=text)({"image": paths["image"], "cbct": paths["image"]}) for text in ("all", "1:3"))
    for key in ("image", "inside"):
        torch.testing.assert_close(part[key].as_tensor(), whole[key].as_tensor()[..., 1:3])

"""Synthetic lesions as cases: names, what each holds, and that a scan is read once."""

import numpy as np
import pytest
import torch
from heads_toy import toy_head
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.heads import LoadHead
from diffzoo.imaging.lesions import RADII
from diffzoo.tasks.anomaly.lesion_cases import CLEAR, CachedHead, InsertLesion, with_lesions


@pytest.fixture(scope="module")
def head():
    volume, affine, _ = toy_head(stripped=True)
    own = np.zeros(volume.shape, np.uint8)
    own[22:25, 25:28, 20:23] = 1
    scan = MetaTensor(torch.from_numpy(volume), affine=torch.from_numpy(affine))
    return LoadHead(4.0, modality="t1", field=(48, 56))({"image": scan, "mask": own, "case": "a"})


def test_one_case_a_lesion_with_its_name_and_its_group():
    listed = [{"case": "a", "image": "a.nii"}, {"case": "b", "image": "b.nii", "subject": "s"}]
    plain = with_lesions(listed)
    assert [c["subject"] for c in plain] == ["a", "s"] and all("lesion_settings" not in c for c in plain)
    made = with_lesions(listed, "6,10", repeats=2)
    assert len(made) == 2 * 2 * 2 * 3 * 2 and len({c["case"] for c in made}) == len(made)
    assert {c["group"] for c in made} == {"6 mm", "10 mm"} and {c["subject"] for c in made} == {"a", "s"}
    assert "lesion_settings" not in listed[0]
    assert len(with_lesions(listed[:1], "all")) == 6 * len(RADII)
    for text in ("", "six", "0", "6,-1"):
        with pytest.raises(InputError, match="lesions="):
            with_lesions(listed, text)


def test_turns_share_contrasts_and_textures_evenly_over_scans_and_radii():
    listed = [{"case": name, "image": f"{name}.nii"} for name in "abcdef"]
    made = with_lesions(listed, "3,6,10,15", turns=1)
    assert len(made) == 24
    for radius in (3, 6, 10, 15):
        looks = [tuple(c["lesion_settings"][k] for k in ("contrast", "texture")) for c in made if c["group"] == f"{radius} mm"]
        assert len(looks) == len(set(looks)) == 6
    assert len(with_lesions(listed[:3], "6,10,15", turns=2)) == 18
    with pytest.raises(InputError, match="turns"):
        with_lesions(listed, "6", turns=7)


def settings(radius=14.0, contrast=0.5, texture="flat", repeat=0):
    return {"lesion_settings": {"radius": radius, "contrast": contrast, "texture": texture, "repeat": repeat}}


def test_an_inserted_lesion_has_its_slices_its_mask_and_its_place(head):
    found = InsertLesion(seed=3)({**head, **settings()})
    rows = found["slice_index"].tolist()
    assert found["image"].shape == found["mask"].shape == (*head["image"].shape[:3], len(rows))
    assert found["mask"].any(0).any(0).any(0).all() and rows == list(range(rows[0], rows[-1] + 1))
    assert torch.equal(found["clean"].as_tensor(), head["image"].as_tensor()[..., rows[0] : rows[-1] + 1])
    assert torch.equal(found["vector"], head["vector"][rows]) and found["whole_brain"].shape == head["brain"].shape
    changed = (found["image"] != found["clean"]).as_tensor()
    assert changed[found["mask"].as_tensor()].float().mean() > 0.9 and not changed[~found["brain"].as_tensor()].any()
    assert not (found["mask"].as_tensor() & found["ignore"].as_tensor()).any()
    assert torch.equal(found["ignore"].as_tensor(), head["mask"].as_tensor()[..., rows[0] : rows[-1] + 1])
    corner = torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)
    first = torch.tensor([0.0, 0, rows[0], 1], dtype=torch.float64)
    assert torch.allclose(found["image"].affine @ corner, head["image"].affine @ first)


def test_a_case_depends_on_the_seed_and_its_own_settings(head):
    first, again = (InsertLesion(1)({**head, **settings(repeat=1)}) for _ in range(2))
    assert torch.equal(first["image"].as_tensor(), again["image"].as_tensor())
    other = InsertLesion(2)({**head, **settings(repeat=1)})
    assert first["image"].shape != other["image"].shape or not torch.equal(first["image"], other["image"])
    assert InsertLesion()(dict(head))["image"] is head["image"]  # a case without a lesion passes
    with pytest.raises(InputError, match="no room"):
        InsertLesion()({**head, **settings(radius=90.0)})


def test_a_scan_is_read_once_and_cases_do_not_touch_each_other():
    read = []

    def load(data):
        read.append(data["image"])
        return {"image": torch.zeros(2), "case": data["case"], "notes": ""}

    cached = CachedHead(load)
    names = [cached({"image": i, "case": c, "group": c})["case"] for i, c in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"))]
    assert names == ["1", "2", "3", "4"] and read == ["a", "b", "a"]
    assert cached({"image": "a", "case": "5", "normal": True})["case"] == "5" and len(read) == 4


def test_arrays_that_print_alike_are_not_taken_for_one_scan():
    arrays = [np.zeros((30, 30, 30)), np.zeros((30, 30, 30))]
    arrays[1][15, 15, 15] = 1
    cached = CachedHead(lambda data: {"image": float(data["image"].sum())})
    assert [cached({"case": "a", "image": array})["image"] for array in (*arrays, arrays[0])] == [0, 1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_a_lesion_has_the_volume_of_its_ball_and_keeps_clear_of_those_of_the_scan(head, seed):
    big = torch.zeros_like(head["mask"])
    big[:, :24] = True  # the left half of the field
    found = InsertLesion(seed)({**head, "mask": big & head["brain"], **settings()})
    assert int(found["mask"].sum()) == pytest.approx(4 / 3 * np.pi * (14 / 4) ** 3, rel=0.03)
    assert int(found["mask"].as_tensor().nonzero()[:, 1].min()) >= 24 + CLEAR and found["ignore"].any()


def test_a_radius_that_is_named_twice_counts_once_and_none_is_endless():
    assert len(with_lesions([{"case": "a", "image": "a.nii"}], "6,6.0")) == 6
    for text in ("inf", "6,nan"):
        with pytest.raises(InputError, match="radii in mm"):
            with_lesions([{"case": "a", "image": "a.nii"}], text)

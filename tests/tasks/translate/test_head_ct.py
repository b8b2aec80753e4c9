"""A whole head from disk to slices, and its CT back onto the scan."""

import numpy as np
import pytest
import torch
from whole_head import whole_head

from diffzoo.errors import InputError
from diffzoo.imaging.heads import BackToScan
from diffzoo.tasks.translate.head_ct import LoadHeadMR, heights, reached, to_model


@pytest.fixture
def files(nifti):
    def write(kind, name=None, change=lambda x: x):
        volume = whole_head(kind, noise=5 if kind != "ct" else 0)
        return str(nifti(change(volume.numpy()[0]), volume.affine.numpy(), name or f"sub-01_{kind}.nii.gz"))

    return write


def test_a_complete_case_gives_what_a_translation_takes(files):
    t1, t2, ct = (files(kind) for kind in ("t1", "t2", "ct"))
    data = LoadHeadMR()({"image": t1, "t1": t1, "t2": t2, "ct": ct, "case": "sub-01"})
    shape = data["inside"].shape[1:]
    assert data["image"].shape == (2, *shape) and data["truth"].shape == (1, *shape) and shape[:2] == (96, 112)
    assert data["given"].tolist() == [1, 1] and data["wanted"].tolist() == data["known"].tolist() == [1]
    assert data["given_roles"] == "t1+t2" and data["first"] == "t1" and data["case"] == "sub-01"
    inside = data["inside"].numpy() > 0
    assert not data["image"].numpy()[:, ~inside[0]].any() and not data["truth"].numpy()[~inside].any()
    for image in data["image"].numpy():
        assert np.percentile(image[inside[0]], 95) == pytest.approx(1, abs=1e-3)
    assert float(data["truth"].max()) == pytest.approx(1.0, abs=0.02)  # 1000 HU
    middle = data["truth"].numpy()[0, 48, 56, shape[2] // 2]
    assert 2000 * middle - 1000 == pytest.approx(6, abs=15)


@pytest.mark.parametrize("kind", ["t1", "t2"])
def test_one_contrast_is_enough_and_tells_its_channel(files, kind):
    data = LoadHeadMR()({"image": files(kind), "case": "a"})
    assert data["given_roles"] == kind and data["given"].tolist() == [float(kind == "t1"), float(kind == "t2")]
    assert not data["image"][["t2", "t1"].index(kind)].any() and not data["truth"].any() and data["known"].tolist() == [0]


def test_of_images_joined_by_name_the_first_may_be_the_ct(files):
    t1, ct = files("t1"), files("ct")
    data = LoadHeadMR()({"image": ct, "ct": ct, "t1": t1})
    assert data["first"] == data["given_roles"] == "t1" and data["image_path"] == t1 and data["known"].tolist() == [1]
    with pytest.raises(InputError, match="has no MR"):
        LoadHeadMR()({"image": ct})


def test_the_ct_goes_back_onto_the_scan(files):
    ct, t1 = files("ct"), files("t1")
    data = LoadHeadMR()({"image": t1, "t1": t1, "ct": ct})
    back = BackToScan(keys=("truth",))(data)["truth"].numpy()[0] * 2000 - 1000
    truth = whole_head("ct").numpy()[0]
    low = whole_head("labels").numpy()[0] == 8  # far from any border
    assert back.shape == truth.shape and np.abs(back[low] - truth[low]).mean() < 40 and (back[0] == -1000).all()


def test_what_lies_far_below_the_vertex_is_left_out():
    head = np.ones((4, 4, 100), bool)
    assert reached(head, 2.0)[0, 0].sum() == 86
    assert heights(head, 2.0)[-1] == 1 and heights(head, 2.0)[0] == 0
    assert float(heights(head, 2.0)[99 - 17]) == pytest.approx(0.8)


def test_model_units_are_cut_at_air_and_at_dense_bone():
    hu = np.array([-3000.0, -1000.0, 0.0, 1000.0, 9000.0])
    assert to_model(hu).tolist() == [0, 0, 0.5, 1.0, 1.5]
    assert torch.equal(to_model(torch.tensor(hu)), torch.tensor([0, 0, 0.5, 1.0, 1.5], dtype=torch.float64))


def test_what_cannot_be_used_is_told_in_one_line(files):
    def refused(match, case, **options):
        with pytest.raises(InputError, match=match) as caught:
            LoadHeadMR(**options)(case)
        assert "\n" not in str(caught.value)

    labels = whole_head("labels").numpy()[0]
    stripped = files("t1", "s_t1.nii.gz", lambda x: np.where(labels > 5, x, 0))
    refused("skull was removed", {"image": stripped})
    refused("CT in HU", {"image": files("ct", "x_t1.nii.gz")})
    t1 = files("t1")
    refused("no air of -1000 HU", {"image": t1, "t1": t1, "ct": files("t2", "y_ct.nii.gz")})
    small = files("t2", "z_t2.nii.gz", lambda x: np.where(np.arange(x.shape[0])[:, None, None] < 25, x, 0))
    refused("covers", {"image": t1, "t1": t1, "t2": small})
    refused("two of them", {"image": t1, "problem": "two of them"})
    refused("target=t1", {"image": t1}, target="t1")
    refused("grid_mm=0", {"image": t1}, grid_mm=0)
    refused("unknown role", {"image": t1, "t1": t1, "given": "t2"})

"""What images are painted on: label volumes of any geometry, and tissues of a scan."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.heads import BackToScan
from diffzoo.imaging.phantoms.volumes import sample
from diffzoo.tasks.generate.label_maps import LoadMaps, is_own, labelled, style_slices

FIELD = (64, 80)


def grid(sizes, shape, turn=None):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(sizes)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def tissues(found=None):
    """Tells the same tissues of every brain, and remembers of what."""

    def told(data):
        told.cases.append(data)
        affine = torch.from_numpy(grid((2.5, 2.5, 2.5), (8, 8, 4)))
        maps = torch.zeros(5, 8, 8, 4)
        maps[2] = 1
        meta = {"stored_affine": affine.numpy(), "stored_shape": np.array((8, 8, 4))}
        image = MetaTensor(torch.full((1, 8, 8, 4), 0.5), affine=affine)
        return {"label": MetaTensor(maps, affine=affine), "image": image, "modality": data["modality"], "meta": meta}

    told.cases = []
    return told


def stored(path, array, affine):
    nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), path)
    return str(path)


@pytest.mark.parametrize("sizes", [(4.0, 4.0, 4.0), (-3.0, 4.0, 9.0), (5.0, -4.0, -4.0)])
def test_labels_become_shares_and_return_to_where_they_were(sizes, tmp_path):
    shape = tuple(int(200 / abs(s)) | 1 for s in sizes)
    affine = grid(sizes, shape)
    given = sample("labels", shape, affine)
    item = LoadMaps(tissues(), 2.5, FIELD)({"image": stored(tmp_path / "a.nii.gz", given, affine), "case": "a"})
    maps = item["image"]
    assert maps.shape[0] == 5 and maps.shape[1] >= 64 and torch.allclose(maps.sum(0), torch.ones(maps.shape[1:]), atol=1e-5)
    assert item["asked"].numel() == item["real"].numel() == 0 and item["given"] == "labels"
    label = MetaTensor(maps.as_tensor().argmax(0, keepdim=True), affine=maps.affine)
    back = BackToScan(masks=("label",))(item | {"label": label})["label"]
    assert tuple(back.shape[1:]) == shape and np.allclose(back.affine, affine)
    assert (back[0].numpy() == given).mean() > 0.93


def test_an_oblique_volume_keeps_its_world_volume(tmp_path):
    turn = np.linalg.qr(np.array([[0.95, -0.2, 0.1], [0.2, 0.95, 0.15], [-0.1, -0.15, 1.0]]))[0]
    turn = turn * np.sign(np.diag(turn))
    shape = (51, 57, 47)
    affine = grid((4.0, 4.0, 4.0), shape, turn)
    given = sample("labels", shape, affine)
    item = LoadMaps(tissues())({"image": stored(tmp_path / "a.nii.gz", given, affine), "case": "a"})
    voxel = abs(np.linalg.det(item["image"].affine[:3, :3]))
    for k in (1, 2, 3):
        assert float(item["image"][k].sum()) * voxel == pytest.approx((given == k).sum() * 64, rel=0.02)


def test_a_scan_is_handed_on_with_what_is_known_of_it(tmp_path):
    path = stored(tmp_path / "a.nii.gz", 100 * np.random.default_rng(0).random((9, 9, 9)), np.eye(4))
    load = tissues()
    item = LoadMaps(load)({"image": path, "case": "a", "modality": "flair", "t1": "b.nii.gz"})
    assert load.cases[0]["t1"] == "b.nii.gz" and load.cases[0]["modality"] == "flair"
    assert item["real"].shape == (1, 8, 8, 4) and item["image"].meta["stored_shape"].tolist() == [8, 8, 4]
    assert LoadMaps(load)({"image": path, "case": "a"})["given"] == "a brain MR" and load.cases[1]["modality"] == "t1"


def test_what_counts_as_labels():
    def volume(values):
        return MetaTensor(torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1))

    assert labelled(volume([0, 1, 2, 3, 4])) and labelled(volume([0, 2]))
    assert not labelled(volume([0, 1.5, 2])) and not labelled(volume([0, 5])) and not labelled(volume([0, 0]))
    assert not labelled(volume([-1, 2])) and not labelled(volume([0, 900]))


def test_labels_without_tissue_are_refused(tmp_path):
    array = np.zeros((9, 9, 9))
    array[3:6, 3:6, 3:6] = 1
    with pytest.raises(InputError, match="no grey or white matter; labels are 0 background, 1 csf"):
        LoadMaps(tissues())({"image": stored(tmp_path / "a.nii.gz", array, np.eye(4)), "case": "a"})


def test_styles_are_read_of_a_scan():
    class Reader:
        def load(self, data):
            image = torch.zeros(1, 8, 8, 4)
            image[..., 1:3] = 0.5
            return {"image": image}

    assert style_slices(Reader(), "a.nii.gz", "t1").shape == (2, 1, 8, 8)
    assert style_slices(Reader(), None, "t1") is None and style_slices(Reader(), "own", "t1") is None
    assert is_own("own") and not is_own(None) and not is_own("a.nii.gz")

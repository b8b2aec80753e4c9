"""Batches of simulated pairs: what is given, and that CT and MR show one head."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from whole_head import whole_head

from diffzoo.errors import InputError
from diffzoo.tasks.translate import paired_slices
from diffzoo.tasks.translate.paired_slices import PairedSlices


@pytest.fixture
def made(nifti, monkeypatch):
    """made(**options) -> a dataset of one head whose tissues are known."""
    volumes = {kind: whole_head(kind, noise=5) for kind in ("t1", "t2", "ct")}
    paths = {k: str(nifti(v.numpy()[0], v.affine.numpy(), f"{k}.nii.gz")) for k, v in volumes.items()}
    labels = whole_head("labels")
    known = MetaTensor(labels.as_tensor().to(torch.uint8), affine=labels.affine)
    monkeypatch.setattr(paired_slices, "head_labels", lambda scan, *average: (known, scan))
    monkeypatch.setattr(paired_slices, "average_head", lambda parts: (parts[0], parts[0]))

    def dataset(**options):
        entry = {"image": paths["t1"], "t2": paths["t2"]}
        return PairedSlices([entry], [{"image": paths["ct"]}] * 4, **{"batch_size": 12, "batches": 4, **options})

    return dataset


def test_a_batch_has_what_the_network_and_the_loss_take(made):
    batch = made()[0]
    assert (
        batch["image"].shape == (12, 1, 96, 112)
        and batch["concat"].shape == (12, 5, 96, 112)
        and batch["vector"].shape == (12, 4)
    )
    given = batch["vector"][:, :2]
    assert (given.sum(1) >= 1).all() and {tuple(g) for g in given.tolist()} == {(1, 0), (0, 1), (1, 1)}
    assert (batch["vector"][:, 2] == 1).all() and (batch["concat"][:, :2].flatten(2).amax(2) > 0).equal(given > 0)
    inside = batch["concat"][:, -1:] > 0
    assert not batch["image"][~inside].any() and float(batch["image"].min()) >= 0 and float(batch["image"].max()) <= 1.5


def test_a_batch_is_one_function_of_seed_epoch_and_index(made):
    one, two = made(), made()
    assert all(torch.equal(one[1][k], two[1][k]) for k in one[1])
    two.epoch = 2
    assert not torch.equal(one[1]["image"], two[1]["image"]) and not torch.equal(one[0]["image"], one[1]["image"])


@pytest.mark.parametrize("real", [0.0, 1.0])
def test_ct_and_mr_show_one_head(made, real):
    batch = made(augment=False, real=real)[0]
    both = (batch["vector"][:, :2] > 0).all(1)
    ct, t1, t2 = (batch[k][both][:, c] for k, c in (("image", 0), ("concat", 0), ("concat", 1)))
    fluid = (t2 > 0.75) & (t1 < 0.3)  # of the ventricle: the rim of the phantom is thinner than a voxel
    fluid[:, :40], fluid[:, 56:], fluid[..., :48], fluid[..., 64:] = False, False, False, False
    bone = (ct > 0.9) & (t1 < 0.2)
    assert fluid.sum() > 20 and float((2000 * ct[fluid] - 1000).median()) == pytest.approx(8, abs=40)
    assert bone.sum() > 100 and float(t2[bone].median()) < 0.2


def test_bent_slices_stay_shares(made):
    dataset = made()
    assert dataset.slices.shape[1] == 12 and np.isclose(float(dataset.slices[:, :9].float().sum(1).mean()), 1, atol=1e-3)
    assert dataset.scanned.all() and float(dataset.weights.sum()) == pytest.approx(1, abs=1e-3)


def test_without_heads_or_template_there_is_one_line():
    with pytest.raises(InputError, match="four files of the average head"):
        PairedSlices([], [])

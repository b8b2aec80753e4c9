"""Batches of simulated pairs: what is given, and that CT and MR show one head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from whole_head import whole_head

from diffzoo.errors import InputError
from diffzoo.tasks.translate import paired_slices
from diffzoo.tasks.translate.moments import of_batches
from diffzoo.tasks.translate.paired_slices import PairedSlices
from diffzoo.tasks.translate.people import people


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
        entry = {"image": paths["t1"], "t2": paths["t2"], "template": [paths["ct"]] * 4}
        return PairedSlices([entry], **{"batch_size": 12, "batches": 4, **options})

    return dataset


@pytest.fixture
def real(nifti):
    """real(*roles) -> a dataset of one head with its CT, and of its MR those roles."""

    def dataset(*roles):
        volumes = {kind: whole_head(kind, noise=5) for kind in (*roles, "ct")}
        paths = {k: str(nifti(v.numpy()[0], v.affine.numpy(), f"{k}.nii.gz")) for k, v in volumes.items()}
        return PairedSlices([{"image": paths[roles[0]], **paths}], batch_size=12, batches=4, augment=False)

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


def test_a_real_pair_is_taken_as_it_is(real):
    batch = real("t1", "t2")[0]
    given, ct = batch["vector"][:, :2], batch["image"][:, 0]
    assert {tuple(g) for g in given.tolist()} == {(1, 0), (0, 1), (1, 1)}
    white, skull = (2000 * ct - 1000 - level for level in (29, 1000))  # of the phantom, which has no texture
    assert (white.abs() < 10).sum() > 1000 and (skull.abs() < 200).sum() > 1000
    t1 = batch["concat"][given[:, 0] > 0][:, 0]
    assert float(t1[(skull.abs() < 50)[given[:, 0] > 0]].median()) < 0.2


@pytest.mark.parametrize("role", ["t1", "t2"])
def test_of_a_real_pair_that_is_given_which_there_is(real, role):
    batch = real(role)[0]
    assert (batch["vector"][:, :2] == torch.tensor([float(role == "t1"), float(role == "t2")])).all()


def test_bent_slices_stay_shares(made):
    dataset = made()
    assert dataset.slices.shape[1] == 13 and np.isclose(float(dataset.slices[:, :9].float().sum(1).mean()), 1, atol=1e-3)
    assert dataset.scanned.all() and float(dataset.weights.sum()) == pytest.approx(1, abs=1e-3)


def test_without_heads_or_ct_there_is_one_line(nifti):
    with pytest.raises(InputError, match="need scans of whole heads"):
        PairedSlices([])
    with pytest.raises(InputError, match="named as it is but for _ct"):
        PairedSlices([{"image": str(nifti(1.001 * whole_head("t1").numpy()[0]))}])


def test_the_people_of_a_folder_are_split_whole(nifti, tmp_path):
    for name in ("a_t1", "a_ct", "b_t1", "b_ct", "c_ct", "c_t2"):
        nifti(np.zeros((4, 4, 4), np.float32), name=f"scans/{name}.nii.gz")
    parts = {part: people(str(tmp_path / "scans"), part, ("t1", "t2", "ct")) for part in ("training", "validation")}
    named = {k: [Path(case["ct"]).name[0] for case in v] for k, v in parts.items()}
    assert named == {"training": ["b", "c"], "validation": ["a"]}
    assert all(len({Path(case[role]).name[0] for role in ("t1", "t2", "ct") if role in case}) == 1 for case in parts["training"])


def test_moments_of_batches_are_those_of_what_is_given_and_of_the_ct(made):
    batch = made()[0]
    both = (batch["vector"][:, :2] > 0).all(1)
    inside = batch["concat"][:, -1] > 0
    t2, ct = (x[both][inside[both]].double() for x in (batch["concat"][:, 1], batch["image"][:, 0]))
    table = of_batches([{key: value[both] for key, value in batch.items()}])
    assert float(table[2, 3]) == pytest.approx(float((t2 * ct).mean()), rel=1e-4)
    one = of_batches([batch])  # of what is not given nothing is counted
    known = inside & (batch["vector"][:, 0] > 0).view(-1, 1, 1)
    assert float(one[0, 1]) == pytest.approx(float(batch["concat"][:, 0][known].double().mean()), rel=1e-4)

"""Training batches of limited-angle CT: the same batch for the same step, sizes, arcs, phantoms, real slices, and the bank."""

import nibabel as nib
import numpy as np
import pytest
import torch
from anatomy import anatomy

from diffzoo.tasks.reconstruct_ct.dataset import LimitedAngle, TomogramRecipe


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    path = tmp_path_factory.mktemp("ct") / "scan.nii"
    nib.save(nib.Nifti1Image((1.4 * anatomy((40, 36, 4)) - 1000).astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return {"image": str(path)}


def batches(entries, phantoms=None, **options):
    settings = {"sizes": (24, 48), "items": (10, 5), "batch_size": 2, "batches": 6}
    return LimitedAngle(entries, phantoms or {}, **settings | options)


def recipe(entries, phantoms=None, **options):
    settings = {"phantom_share": 0.5, "arcs": (55.0, 125.0), "doses": (1e5, 1e7), "seed": 0, "augment": False}
    return TomogramRecipe(entries, phantoms or {}, **settings | options)


def test_a_batch_is_a_function_of_seed_epoch_and_index(entry):
    first, again = batches([entry]), batches([entry])
    for epoch, index in ((1, 3), (2, 3), (2, 0), (1, 3)):
        first.epoch = again.epoch = epoch
        a, b = first[index], again[index]
        assert all(torch.equal(a[key], b[key]) for key in ("image", "concat"))
    first.epoch = 2
    assert len(first) == 6 and first[1]["image"].mean() != first[2]["image"].mean()
    with pytest.raises(IndexError):
        first[6]


def test_smaller_slices_come_in_larger_batches_and_the_two_images_add_up_to_the_truth(entry):
    data, seen = batches([entry], augment=False), set()
    for batch in (data[k] for k in range(6)):
        size = batch["image"].shape[-1]
        seen.add(size)
        assert batch["image"].shape == batch["concat"].shape == ({24: 8, 48: 2}[size], 1, size, size)
        truth = batch["image"] + batch["concat"]
        assert truth.min() > -1e-2 and truth.max() < 2.4 and batch["concat"].min() >= 0
        assert batch["image"].pow(2).mean() < 0.5 * truth.pow(2).mean()
    assert seen == {24, 48}


def test_shares_say_how_often_a_size_is_drawn(entry):
    only = batches([entry], shares=(0.0, 1.0))
    assert {only[k]["image"].shape[-1] for k in range(6)} == {48}


def test_a_wider_arc_leaves_less_to_learn(entry):
    def gap(degrees):
        truth, first = recipe([entry], arcs=(degrees, degrees), doses=(1e9, 1e9)).make(48, 4).float().split(1, 1)
        return (truth - first).pow(2).mean()

    assert gap(120.0) < 0.5 * gap(60.0)


def test_half_a_turn_leaves_the_arc_as_it_is(entry):
    """The first image of a slice turned by half a turn is the first image of the slice, turned."""
    turned = batches([entry], sizes=(48,), items=(1,), arcs=(90.0, 90.0))
    kinds = [turned[k]["concat"] for k in range(6)]
    plain = turned.banks[0][:, 1:].float()
    assert all(torch.equal(x, plain) or torch.equal(x, plain.flip(2, 3)) for batch in kinds for x in batch.split(1))


def test_the_bank_is_made_once_and_kept_with_its_recipe(entry, tmp_path):
    first = batches([entry], store=str(tmp_path))
    kept = sorted(path.name for path in tmp_path.iterdir())
    again = batches([entry], store=str(tmp_path))
    assert [name.split("_")[1] for name in kept] == ["24", "48"] and len(list(tmp_path.iterdir())) == 2
    assert all(torch.equal(a, b) for a, b in zip(first.banks, again.banks, strict=True))
    batches([entry], store=str(tmp_path), seed=1)
    assert len(list(tmp_path.iterdir())) == 4


def test_blocks_of_a_volume_keep_to_their_slices(entry):
    from diffzoo.tasks.reconstruct_ct.dataset import _real

    whole, block = _real(entry), _real(entry | {"slices": "1:3"})
    assert torch.equal(whole[0][1:3], block[0]) and whole[1] == 80.0


def test_phantoms_are_drawn_by_their_share_and_alone_where_nothing_else_is_there(entry):
    assert recipe([entry], {"head": 1, "luggage": 1}).weights(3).tolist() == [0.5, 0.25, 0.25]
    assert recipe([], {"head": 1}).weights(1).tolist() == [1.0]
    assert torch.isfinite(batches([], {"head": 1, "luggage": 0}, items=(2, 1))[0]["image"]).all()
    with pytest.raises(ValueError, match="no training slices"):
        batches([])

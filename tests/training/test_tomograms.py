"""Training batches of limited-angle CT: the same batch for the same step, sizes, arcs, phantoms and real slices."""

import nibabel as nib
import numpy as np
import pytest
import torch
from anatomy import anatomy

from diffzoo.training.tomograms import LimitedAngle


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    path = tmp_path_factory.mktemp("ct") / "scan.nii"
    nib.save(nib.Nifti1Image((1.4 * anatomy((40, 36, 4)) - 1000).astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return {"image": str(path)}


def batches(entries, phantoms=None, **options):
    return LimitedAngle(entries, phantoms or {}, **{"sizes": (24, 48), "batch_size": 2, "batches": 6} | options)


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
    seen = set()
    for k, batch in enumerate(batches([entry], augment=False)[k] for k in range(6)):
        size = batch["image"].shape[-1]
        seen.add(size)
        assert batch["image"].shape == batch["concat"].shape == ({24: 8, 48: 2}[size], 1, size, size), k
        truth = batch["image"] + batch["concat"]
        assert truth.min() > -1e-4 and truth.max() < 2.4 and batch["concat"].min() >= 0
        assert batch["image"].pow(2).mean() < truth.pow(2).mean()
    assert seen == {24, 48}


def test_a_wider_arc_leaves_less_to_learn(entry):
    gaps = [batches([entry], arcs=(a, a), sizes=(48,), doses=(1e9, 1e9))[0]["image"].pow(2).mean() for a in (60.0, 120.0)]
    assert gaps[1] < 0.6 * gaps[0]


def test_blocks_of_a_volume_keep_to_their_slices(entry):
    whole, block = batches([entry]), batches([entry | {"slices": "1:3"}])
    assert torch.equal(whole.stacks[0][0][1:3], block.stacks[0][0]) and whole.stacks[0][1] == 80.0


def test_phantoms_are_drawn_by_their_share_and_alone_where_nothing_else_is_there(entry):
    both = batches([entry], {"head": 1, "luggage": 1}, phantom_share=0.5)
    assert both.weights.tolist() == [0.5, 0.25, 0.25]
    alone = batches([], {"head": 1, "luggage": 0})
    assert alone.weights.tolist() == [1.0] and torch.isfinite(alone[0]["image"]).all()
    with pytest.raises(ValueError, match="no training slices"):
        batches([])

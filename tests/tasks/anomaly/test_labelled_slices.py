"""Labelled slices: the same batch for the same step, labels that tell the truth, lesions that look as they should."""

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head

from diffzoo.networks.label_tokens import WEIGHT
from diffzoo.tasks.anomaly.labelled_slices import LabelledSlices
from diffzoo.tasks.anomaly.painting import LENT, paint_mask, paint_simulated

SIZE = (48, 56)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mr")
    for modality in ("t1", "flair"):
        volume, affine, _ = toy_head(modality=modality, stripped=True)
        nib.save(nib.Nifti1Image(volume, affine), path / f"p_{modality}.nii")
    label = np.zeros(volume.shape, np.uint8)
    label[20:25, 25:30, 20:24] = 1
    nib.save(nib.Nifti1Image(label, affine), path / "lesion.nii")
    return path


def entry(folder, modality="t1", **more):
    return {"image": str(folder / f"p_{modality}.nii")} | more


def batches(*entries, **options):
    return LabelledSlices(entries, **{"size": SIZE, "grid_mm": 4.0, "batch_size": 12, "batches": 5} | options)


def test_a_batch_is_a_function_of_seed_epoch_and_index(folder):
    given = entry(folder, borrowed=[str(folder / "lesion.nii")])
    first, again, other = batches(given), batches(given), batches(given, seed=1)
    for epoch, index in ((1, 3), (2, 3), (2, 0)):
        first.epoch = again.epoch = epoch
        assert all(torch.equal(first[index][key], again[index][key]) for key in first[index])
    assert len(first) == 5 and not torch.equal(first[0]["image"], other[0]["image"])


def test_shapes_and_what_the_network_is_told(folder):
    data = batches(entry(folder), entry(folder, "flair"), dropout=0.4, batch_size=200)
    batch = data[0]
    assert batch["image"].shape == batch["concat"].shape == (200, 1, *SIZE) and batch["image"].min() >= 0
    assert batch["facts"].shape == (200, 4) and batch["tokens"].shape == (200, 2, 3)
    assert torch.equal(batch["vector"][:, :4], batch["facts"]) and set(batch["label"].tolist()) == {0, 1}
    told = batch["vector"][:, 4:]
    dropped = told.sum(1) == 0
    assert 0.25 < dropped.float().mean() < 0.55
    assert torch.equal(told[~dropped].argmax(1), batch["label"][~dropped])
    assert torch.equal(batch["tokens"][:, 1, 1:], told / WEIGHT)


def test_labels_tell_whether_there_is_a_lesion(folder):
    options = {"augment": False, "batch_size": 60, "lent": 0.0}
    never, always = batches(entry(folder), diseased=0.0, **options), batches(entry(folder), diseased=1.0, **options)
    clean, painted = never[0], always[0]
    assert not clean["label"].any() and painted["label"].float().mean() > 0.8
    stacks = never.slices[:, 0].float()
    same = [bool((stacks == image).flatten(1).all(1).any()) for image in painted["image"]]
    assert [not s for s in same] == (painted["label"] == 1).tolist()


def test_a_mask_labels_its_slices_and_an_unlabelled_volume_stays_so(folder):
    masked = batches(entry(folder, mask=str(folder / "lesion.nii")), diseased=0.0)
    assert 3 <= int((masked.labels == 1).sum()) <= 6
    filled = batches(entry(folder, mask=str(folder / "lesion.nii"), fill=True), diseased=0.0)
    assert not filled.labels.any()
    unknown = batches(entry(folder, labelled=False), diseased=1.0, augment=False)[0]
    assert (unknown["label"] == -1).all() and not unknown["vector"][:, 4:].any()


def test_borrowed_masks_are_painted_where_they_lie(folder):
    data = batches(
        entry(folder, "flair", borrowed=[str(folder / "lesion.nii")]), diseased=1.0, lent=1.0, augment=False, batch_size=80
    )
    batch, places = data[0], data.borrowed[0]
    held = {int(p): m for p, m in places.items()}
    assert 3 <= len(held) <= 6
    stacks, shown = data.slices[:, 0].float(), 0
    for image in batch["image"]:
        change = (stacks - image).abs().flatten(1)
        nearest = int(change.sum(1).argmin())
        masks = held.get(int(data.volume[nearest]))
        if masks is None or not change[nearest].any():
            continue
        where = change[nearest].view(SIZE) > 0.05
        if (where & (masks[0] > 127)).sum() > 0.5 * where.sum():
            shown += 1
            assert (image[0] - stacks[nearest])[masks[0] > 200].mean() > 0.1  # bright in FLAIR
    assert shown


@pytest.mark.parametrize("modality", list(LENT))
def test_a_lent_lesion_is_dark_in_t1_and_bright_in_the_others(modality):
    image, share = torch.zeros(1, 30, 32), torch.zeros(1, 30, 32)
    image[:, 3:-3, 3:-3] = 0.8
    share[:, 12:18, 12:18] = 1
    change = (paint_mask(image, share, modality, torch.Generator().manual_seed(1)) - image)[0]
    low, high = LENT[modality]
    assert 0.8 * low - 0.01 <= change[14:16, 14:16].mean() <= 0.8 * high + 0.01
    assert not change[:8].any() and not change[:, :8].any()


def test_simulated_lesions_lie_in_the_brain_or_not_at_all():
    image, brain = torch.zeros(1, 48, 56), torch.zeros(1, 48, 56)
    brain[:, 8:40, 8:48] = 1
    image[brain > 0] = 0.7
    for seed in range(12):
        made = paint_simulated(image, brain, 2.0, torch.Generator().manual_seed(seed))
        assert made is not None and not torch.equal(made, image) and torch.equal(made[brain == 0], image[brain == 0])
    assert paint_simulated(image, torch.zeros_like(brain), 2.0, torch.Generator().manual_seed(0)) is None


def test_patches_of_noise_come_with_the_label_healthy_alone(folder):
    batch = batches(entry(folder), patches=0.8, batch_size=100)[0]
    healthy = batch["vector"][:, 4] > 0
    has = batch["disturbance"].flatten(1).abs().amax(1) > 0
    assert not has[~healthy].any() and 0.6 < has[healthy].float().mean() < 0.95
    assert not batch["disturbance"][batch["concat"] == 0].any() and "disturbance" not in batches(entry(folder))[0]


@pytest.mark.parametrize("augment", [True, False])
def test_twins_differ_by_their_lesions_alone(folder, augment):
    batch = batches(entry(folder), paired=True, augment=augment, conditioned=False)[0]
    healthy, diseased = batch["image"].chunk(2)
    assert not batch["label"][:6].any() and set(batch["label"][6:].tolist()) <= {1, -1}
    assert torch.equal(*batch["concat"].chunk(2)) and torch.equal(batch["facts"], batch["vector"])
    changed = (healthy - diseased).abs() > 1e-6
    known = batch["label"][6:] == 1
    assert known.any() and changed[known].flatten(1).any(1).all() and changed.float().mean() < 0.5
    told = batches(entry(folder), paired=True)[0]
    assert torch.equal(told["tokens"][6:, 1, 2] > 0, told["label"][6:] == 1)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="no training volumes"):
        LabelledSlices([])

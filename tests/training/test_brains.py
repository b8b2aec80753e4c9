"""Training batches of healthy brain slices: the same batch for the same step, no lesions, gentle changes."""

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head

from diffzoo.errors import InputError
from diffzoo.training.brains import BrainSlices, _bend, _swell, _widened, augmented

SIZE = (48, 56)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("mr"), []
    for modality in ("t1", "t2", "flair"):
        volume, affine, _ = toy_head(modality=modality, stripped=True)
        nib.save(nib.Nifti1Image(volume, affine), folder / f"p_{modality}.nii")
        made.append({"image": str(folder / f"p_{modality}.nii")})
    return made


@pytest.fixture(scope="module")
def lesion(tmp_path_factory):
    """A label with one voxel, 6 mm above the middle of the head."""
    _, affine, brain = toy_head()
    label = np.zeros(brain.shape, np.uint8)
    label[24, 27, 22] = 1
    path = tmp_path_factory.mktemp("label") / "lesion.nii"
    nib.save(nib.Nifti1Image(label, affine), path)
    return str(path)


def batches(entries, **options):
    return BrainSlices(entries, **{"size": SIZE, "grid_mm": 4.0, "batch_size": 6, "batches": 5} | options)


def test_a_batch_is_a_function_of_seed_epoch_and_index(entries):
    first, again, other = batches(entries[:1]), batches(entries[:1]), batches(entries[:1], seed=1)
    for epoch, index in ((1, 3), (2, 3), (2, 0), (1, 3)):
        first.epoch = again.epoch = epoch
        assert all(torch.equal(first[index][key], again[index][key]) for key in ("image", "concat", "vector"))
    assert len(first) == 5 and not torch.equal(first[0]["image"], other[0]["image"])
    first.epoch = 2
    assert not torch.equal(first[0]["image"], again[0]["image"])
    for index in (-1, 5):
        with pytest.raises(IndexError):
            first[index]


def test_shapes_ranges_and_the_modality_of_each_slice(entries):
    data = batches(entries, augment=False, batch_size=32)
    assert data.slices.dtype == torch.float16 and data.slices.shape[1:] == (2, *SIZE)
    batch = data[0]
    assert batch["image"].shape == (32, 1, *SIZE) and batch["image"].dtype == torch.float32
    modality, depth = batch["vector"].split((3, 1), 1)
    assert batch["vector"].shape == (32, 4) and (modality.sum(1) == 1).all() and (modality.sum(0) > 0).all()
    assert depth.min() >= 0 and depth.max() <= 1.3 and depth.unique().numel() > 8
    assert set(batch["concat"].unique().tolist()) == {0.0, 1.0} and not batch["image"][batch["concat"] == 0].any()
    assert batch["image"].min() == 0 and 0.6 < batch["image"].quantile(0.99) < 1.6
    where = [(data.slices.float()[:, :1] == image).flatten(1).all(1) for image in batch["image"]]
    assert all((data.vectors[found] == vector).all() for found, vector in zip(where, batch["vector"], strict=True))


def test_slices_that_a_lesion_reaches_are_left_out(entries, lesion):
    whole, healthy = batches(entries[:1]), batches([entries[0] | {"mask": lesion}])
    kept = [any(torch.equal(a, b) for b in healthy.slices) for a in whole.slices]
    lost = [k for k, found in enumerate(kept) if not found]
    assert len(healthy.slices) == len(whole.slices) - len(lost) and 1 <= len(lost) <= 2
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert healthy.weights.sum() == pytest.approx(len(healthy.slices) / len(whole.slices), rel=1e-5)


def test_a_volume_is_drawn_by_its_weight(entries):
    data = batches([entries[0] | {"weight": 3.0}, entries[1]], batch_size=400, augment=False)
    assert data.weights.sum() == pytest.approx(4.0, rel=1e-5)
    assert data[0]["vector"][:, 0].mean() == pytest.approx(0.75, abs=0.08)


def test_a_brain_larger_than_the_field_is_cut_about_its_middle(entries):
    small, large = batches(entries[:1], size=(16, 16), augment=False), batches(entries[:1], augment=False)
    middle = large.slices[:, 0, 16:32, 20:36]
    assert small.slices.shape[1:] == (2, 16, 16)
    assert any((small.slices[10, 0].float() - m.float()).abs().mean() < 0.08 for m in middle)


def test_augmentation_is_gentle_flips_half_and_keeps_the_outside_empty():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 56), indexing="ij")
    disc = ((y / 0.7) ** 2 + (x / 0.8) ** 2 < 1) * (0.5 + 0.2 * y)  # brighter to the right (H)
    image = disc.expand(200, 1, -1, -1).contiguous()
    kept = image.clone()
    out, mask = augmented(image, (image > 0).float(), torch.Generator().manual_seed(0))
    assert set(mask.unique().tolist()) == {0.0, 1.0} and ((out > 0.2) & (mask == 0)).float().mean() < 0.02
    assert torch.equal(image, kept) and out.shape == image.shape and out.min() == 0 and out.max() < 1.5
    assert not out[:, :, :2].any() and not out[:, :, -2:].any()
    area = (out > 0).flatten(1).sum(1) / (disc > 0).sum()
    assert area.min() > 0.7 and area.max() < 1.4 and area.std() > 0.05
    slope = ((out[:, 0] * y).sum((1, 2)) / out[:, 0].sum((1, 2))) - ((out[:, 0] > 0) * y).sum((1, 2)) / (out[:, 0] > 0).sum(
        (1, 2)
    )
    assert 0.35 < (slope > 0).float().mean() < 0.65 and slope.abs().min() > 0.005
    front = ((disc * (x > 0)) > 0).float()
    front = front.expand(50, 1, -1, -1)
    made, _ = augmented(front, front, torch.Generator().manual_seed(1), torch.zeros(50, dtype=torch.bool))
    assert (made[..., :14] == 0).all()  # never back to front


def test_ventricles_become_larger_and_smaller_and_the_rim_stays():
    grid = torch.nn.functional.affine_grid(torch.eye(2, 3).expand(300, 2, 3), (300, 1, 48, 56), align_corners=False)
    middle = (grid.square().sum(-1) < 0.15**2).float()[:, None]
    change = _swell(grid, torch.Generator().manual_seed(0))
    areas = torch.nn.functional.grid_sample(middle, grid + change, align_corners=False).sum((1, 2, 3)) / middle[0].sum()
    assert areas.max() > 2 and areas.min() < 0.8 and areas.median() > 0.9
    assert change[:, [0, -1]].abs().max() < 0.05 and change[:, :, [0, -1]].abs().max() < 0.05


@pytest.mark.parametrize("bright", [False, True])
def test_sulci_become_wider_in_half_of_the_slices_and_the_outline_stays(bright):
    tissue, fluid = (0.5, 1.0) if bright else (1.0, 0.3)
    image = torch.full((200, 1, 20, 24), tissue)
    image[..., 12] = fluid
    brain = torch.zeros(200, 1, 20, 24, dtype=torch.bool)
    brain[..., 3:-3, 3:-3] = True
    image = torch.where(brain, image, 0)
    out = _widened(image, brain, torch.full((200,), bright), torch.Generator().manual_seed(0))
    beside = out[:, 0, 3:-3, 11:14:2]
    changed = ((beside - tissue).abs() > 1e-3).flatten(1).any(1)
    assert 0.35 < changed.float().mean() < 0.65 and torch.equal(out == 0, image == 0)
    assert ((beside - fluid) * (beside - tissue) <= 1e-6).all()  # between fluid and tissue
    assert torch.equal(out[..., 12], image[..., 12]) and torch.equal(out[..., 5:10], image[..., 5:10])


def test_a_turn_is_a_turn_in_a_field_that_is_not_square(monkeypatch):
    monkeypatch.setattr("diffzoo.training.brains._bend", lambda image, generator: 0)
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(112) - 55.5, indexing="ij")
    disc = (y**2 + x**2 < 18**2).float().expand(100, -1, -1)
    out = (augmented(disc[:, None], disc[:, None], torch.Generator().manual_seed(3))[0] > 0).float()[:, 0]
    mass = out.sum((1, 2))
    spread = [((out * a**2).sum((1, 2)) / mass - ((out * a).sum((1, 2)) / mass) ** 2).sqrt() for a in (y, x)]
    assert (spread[0] / spread[1]).max() < 1.11 and (spread[0] / spread[1]).min() > 0.9  # a stretch of 4 % each way, no more


def test_what_cannot_be_trained_on_is_refused(entries, tmp_path):
    with pytest.raises(ValueError, match="the list of entries is empty"):
        batches([])
    volume, affine, brain = toy_head(stripped=True)
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "p.nii")
    nib.save(nib.Nifti1Image(np.uint8(brain), affine), tmp_path / "all.nii")
    with pytest.raises(InputError, match="the name does not tell"):
        batches([{"image": str(tmp_path / "p.nii")}])
    with pytest.raises(ValueError, match="every slice with brain in it holds a lesion"):
        batches([entries[0] | {"mask": str(tmp_path / "all.nii")}])


def test_a_filled_lesion_keeps_its_slices(entries, lesion):
    whole, mended = batches(entries[:1]), batches([entries[0] | {"mask": lesion, "fill": True}])
    assert mended.slices.shape == whole.slices.shape and not torch.equal(mended.slices, whole.slices)
    assert (mended.slices != whole.slices).flatten(1).any(1).sum() <= 4  # one voxel, its margin, one slice below and above
    assert mended.weights.sum() == pytest.approx(1.0, rel=1e-5)


def test_a_simulated_contrast_has_the_label_of_what_it_shows(entries):
    data = batches([entries[0] | {"shown_as": "flair"}], augment=False)
    batch = data[0]
    assert (batch["vector"][:, :3] == torch.tensor([0.0, 0.0, 1.0])).all()
    plain = batches(entries[:1], augment=False)[0]["image"]
    assert torch.equal(plain > 0, batch["image"] > 0) and not torch.equal(plain, batch["image"])
    moved = batches([entries[0] | {"shown_as": "flair"}])
    assert torch.equal(moved[0]["image"], batches([entries[0] | {"shown_as": "flair"}])[0]["image"])
    with pytest.raises(InputError, match="unknown"):
        batches([entries[0] | {"shown_as": "pd"}])


def test_a_bend_is_smooth_small_and_of_mean_zero():
    image = torch.zeros(200, 1, 96, 112)
    pixels = _bend(image, torch.Generator().manual_seed(0)) * torch.tensor([112, 96]) / 2
    assert pixels.std() == pytest.approx(1.0, abs=0.3) and pixels.mean().abs() < 0.05
    assert pixels.diff(dim=1).abs().max() < 0.8 and pixels.diff(dim=2).abs().max() < 0.8  # no fold

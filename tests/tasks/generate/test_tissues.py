"""Slices beside their tissue maps: what is loaded, what a batch holds, and that it is the same batch again."""

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head
from monai.data import MetaTensor
from safetensors.torch import save_file

from diffzoo.errors import InputError
from diffzoo.tasks.generate.dataset import TissueMaps, TissueSlices, partition
from diffzoo.tasks.generate.tissue_heads import LoadTissues, build_template, load_template, with_lesion

SIZE = (48, 48)
LEVELS = {"grey": 420, "white": 600}


class Once:
    """A loader that reads each case once: many sets of batches are made of the same."""

    def __init__(self, load):
        self.load, self.template, self.held = load, load.template, {}

    def __call__(self, data):
        key = str(sorted(data.items()))
        self.held[key] = self.held.get(key) or self.load(data)
        return self.held[key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A person's T1 and FLAIR with a lesion, the T1 of another, and the files of a template with somebody's lesion."""
    place = tmp_path_factory.mktemp("heads")

    def write(name, array, affine):
        nib.save(nib.Nifti1Image(np.asarray(array, np.float32), affine), place / f"{name}.nii.gz")

    values, affine, brain = toy_head(stripped=True, noise=0.0)
    lesion = np.zeros(brain.shape)
    lesion[20:24, 30:34, 20:24] = 1
    write("template_t1", values, affine)
    for name, level in LEVELS.items():
        write(f"template_{name}", 255.0 * (brain & (np.abs(values - level) < 90)), affine)
    write("lent", np.roll(lesion, 6, 0), affine)
    for name, kind in (("amy_t1", "t1"), ("amy_flair", "flair"), ("bob_t1", "t1")):
        image, affine, brain = toy_head(modality=kind, stripped=True, seed=len(name))
        write(name, np.where(lesion > 0, 1.5 * image, image) if "amy" in name else image, affine)
    write("amy_lesion", lesion, affine)
    return place


@pytest.fixture(scope="module")
def load(folder):
    parts = build_template(*(folder / f"template_{name}.nii.gz" for name in ("t1", "grey", "white")), grid_mm=4.0)
    save_file(parts, folder / "template.safetensors")
    return Once(LoadTissues(load_template(folder / "template.safetensors"), grid_mm=4.0, field=SIZE))


@pytest.fixture(scope="module")
def entries(folder):
    file = lambda name: str(folder / f"{name}.nii.gz")  # noqa: E731
    flair = {"image": file("amy_flair"), "t1": file("amy_t1"), "mask": file("amy_lesion"), "borrowed": [file("lent")]}
    return [flair, {"image": file("bob_t1")}, {"image": file("bob_t1"), "shown_as": "t2"}]


def test_a_template_is_stored_on_a_coarser_grid_in_its_place(folder, load):
    stored, source = load.template, nib.load(folder / "template_t1.nii.gz")
    assert stored.shape == (3, *source.shape) and np.allclose(stored.affine, source.affine)
    assert 0.95 < float(stored[0].max()) <= 1.0
    coarse = build_template(*[folder / "template_t1.nii.gz"] * 3, grid_mm=8.0)
    assert coarse["maps"].shape == (3, *((n - 1) // 2 + 1 for n in source.shape))
    with pytest.raises(InputError, match="share one grid"):
        other = nib.Nifti1Image(np.arange(512, dtype=np.float32).reshape(8, 8, 8), np.eye(4))
        nib.save(other, folder / "other.nii.gz")
        build_template(folder / "template_t1.nii.gz", folder / "other.nii.gz", folder / "template_t1.nii.gz")


def test_a_flair_is_told_by_the_tissues_of_its_t1(entries, load):
    data = load(entries[0])
    image, label = data["image"], data["label"]
    assert data["modality"] == "flair" and image.shape[1:] == label.shape[1:] and label.shape[0] == 5
    assert torch.allclose(label.sum(0), torch.ones(label.shape[1:]), atol=1e-5)
    best = label.argmax(0)
    means = [float(image[0][best == k].mean()) for k in (1, 2, 3)]
    assert means[0] < means[2] < means[1]  # fluid dark, grey brighter than white
    assert float(image[0][best == 4].mean()) > means[1] and 40 < int((best == 4).sum()) < 90
    rows = np.flatnonzero(data["brain"][0].numpy().any((0, 1)))
    assert data["position"][rows[0]] == 0 and data["position"][rows[-1]] == 1


def test_a_borrowed_lesion_lies_where_the_template_has_it(entries, load):
    data = load(entries[0])
    [lent] = data["borrowed"]
    assert torch.allclose(lent.sum(0), torch.ones(lent.shape[1:]), atol=1e-5)
    new = (lent[4] > 0.5) & (data["label"][4] < 0.5)
    assert 20 < int(new.sum()) < 90
    away = torch.argwhere(new).float().mean(0) - torch.argwhere(data["label"][4] > 0.5).float().mean(0)
    assert torch.allclose(away, torch.tensor([6.0, 0.0, 0.0]), atol=1.0)


def test_a_lesion_takes_the_place_of_tissue_and_not_of_fluid():
    maps = torch.zeros(5, 1, 1, 3)
    maps[1, ..., 0], maps[2, ..., 1], maps[3, ..., 2] = 1, 1, 1
    made = with_lesion(maps, torch.full((1, 1, 3), 0.75))
    assert made[4].flatten().tolist() == [0, 0.75, 0.75] and torch.allclose(made.sum(0), torch.ones(1, 1, 3))


def test_an_image_without_a_t1_is_told(entries, load):
    with pytest.raises(InputError, match="flair alone does not tell tissues"):
        load({"image": entries[0]["image"]})


@pytest.fixture(scope="module")
def batches(entries, load):
    return TissueSlices(entries, load, SIZE, batch_size=6, batches=4, seed=3)


def test_a_batch(batches):
    batch = batches[0]
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "image": (6, 1, *SIZE),
        "style": (6, 1, *SIZE),
        "label": (6, 5, *SIZE),
        "modality": (6,),
        "position": (6,),
    }
    assert not any(isinstance(value, MetaTensor) for value in batch.values())
    assert torch.allclose(batch["label"].sum(1), torch.ones(6, *SIZE), atol=1e-4) and batch["label"].min() >= 0
    assert batch["image"].min() >= 0 and batch["image"].max() <= 2 and (batch["position"] <= 1).all()


def test_the_same_batch_again_and_another_in_the_next_epoch(entries, load, batches):
    again = TissueSlices(entries, load, SIZE, batch_size=6, batches=4, seed=3)
    assert all(torch.equal(again[1][key], value) for key, value in batches[1].items())
    assert not torch.equal(batches[0]["image"], batches[1]["image"])
    again.epoch = 2
    assert not torch.equal(again[1]["image"], batches[1]["image"])


def test_a_style_is_another_slice_in_the_same_contrast(entries, load):
    plain = TissueSlices(entries, load, SIZE, batch_size=40, batches=1, augment=False)[0]
    same = (plain["image"] == plain["style"]).flatten(1).all(1)
    assert not same.any()
    t2, t1 = (plain["modality"] == k for k in (1, 0))
    for picture in (plain["image"], plain["style"]):
        top = picture.flatten(1).amax(1)
        assert top[t2].median() > top[t1].median()  # fluid is bright in T2


def test_maps_lend_lesions_as_often_as_told(entries, load):
    maps = TissueMaps(entries[:2], load, SIZE, batch_size=200, batches=1, borrowed=0.5, augment=False)
    batch = maps[0]
    assert batch["image"].shape == (200, 5, *SIZE) and batch["position"].shape == (200,)
    lesion = (batch["image"][:, 4].flatten(1).amax(1) > 0.5).float().mean()
    assert 0.4 < lesion < 0.75
    never = TissueMaps(entries[1:2], load, SIZE, batch_size=50, batches=1)[0]
    assert never["image"][:, 4].max() == 0 and torch.allclose(never["image"].sum(1), torch.ones(50, *SIZE), atol=1e-4)


def test_what_a_partition_lacks_is_background():
    maps = torch.tensor([0.2, 0.5, 0.1, 0.0]).view(1, 4, 1, 1)
    assert torch.allclose(partition(maps).flatten(), torch.tensor([0.4, 0.5, 0.1, 0.0]))
    over = torch.tensor([0.0, 0.9, 0.6, 0.0]).view(1, 4, 1, 1)
    assert torch.allclose(partition(over).flatten(), torch.tensor([0.0, 0.6, 0.4, 0.0]))


def test_no_entries_are_an_error(load):
    for kind in (TissueSlices, TissueMaps):
        with pytest.raises(ValueError, match="no training volumes"):
            kind([], load)

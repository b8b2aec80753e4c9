"""Contrasts of a head from disk: one grid, alignment, what is given and wanted; and the batches of a training."""

import nibabel as nib
import numpy as np
import pytest
import torch
from contrasts_toy import placed, write_contrasts

from diffzoo.errors import InputError
from diffzoo.imaging.phantoms.volumes import sample
from diffzoo.imaging.registration import named
from diffzoo.tasks.translate.dataset import ContrastSlices
from diffzoo.tasks.translate.heads import EverySlice, LoadContrasts
from diffzoo.tasks.translate.roles import role_cases

ROLES = ("t1", "t1post", "t2", "flair")
GRID = {"grid_mm": 4.0, "field": (48, 48)}


def case_of(paths, **more):
    return {"image": next(iter(paths.values())), "case": "sub", **paths, **more}


def test_given_contrasts_are_channels_and_the_others_are_wanted(tmp_path):
    found = LoadContrasts(ROLES, **GRID)(case_of(write_contrasts(tmp_path)))
    assert found["given"].tolist() == [1, 0, 1, 1] and found["wanted"].tolist() == [0, 1, 0, 0]
    assert not found["known"].any() and not found["truth"].as_tensor().any() and found["given_roles"] == "t1+t2+flair"
    image, inside = found["image"].as_tensor(), found["inside"].as_tensor()[0]
    assert not image[1].any() and not image[:, ~inside].any() and image[0][inside].median() == pytest.approx(0.69, abs=0.02)
    assert image.shape[-1] == len(found["position"]) and found["position"].max() == 1


def test_a_target_that_is_there_becomes_the_truth(tmp_path):
    paths = write_contrasts(tmp_path)
    whole = LoadContrasts(ROLES, **GRID)(case_of(paths))
    found = LoadContrasts(ROLES, target="flair", **GRID)(case_of(paths))
    assert found["given"].tolist() == [1, 0, 1, 0] and found["wanted"].tolist() == found["known"].tolist() == [0, 0, 0, 1]
    assert torch.equal(found["truth"].as_tensor()[3], whole["image"].as_tensor()[3]) and not found["image"].as_tensor()[3].any()


def test_what_a_case_names_as_given_goes_first(tmp_path):
    found = LoadContrasts(ROLES, **GRID)(case_of(write_contrasts(tmp_path), given="t2+flair"))
    assert found["given"].tolist() == [0, 0, 1, 1] and found["wanted"].tolist() == [1, 1, 0, 0]
    assert found["known"].tolist() == [1, 0, 0, 0] and found["first"] == "t2"


@pytest.mark.parametrize(("alignment", "off"), [("none", False), ("rigid", True)])
def test_a_scan_on_another_grid_is_aligned_with_the_first(tmp_path, alignment, off):
    paths = write_contrasts(tmp_path, ("t1", "t2"), shape=(44, 52, 30), affine=placed((44, 52, 30), (4.0, 4.0, 5.0)))
    moved = placed((44, 52, 30), (4.0, 4.0, 5.0))
    if off:
        moved[:3, 3] += [6.0, -5.0, 4.0]  # the header lies by 8.8 mm
    turned = np.diag([-1.0, 1, 1, 1])
    turned[0, 3] = 43
    array = nib.load(paths["t2"]).get_fdata()[::-1]
    nib.save(nib.Nifti1Image(array, moved @ turned), paths["t2"])
    found = LoadContrasts(ROLES, align=named(alignment), target="t2", **GRID)(case_of(paths))
    truth, ventricle = found["truth"].as_tensor()[2], found["image"].as_tensor()[0] < 0.25
    inside = found["inside"].as_tensor()[0]
    assert truth[inside & ventricle].median() > 1.3 * truth[inside & ~ventricle].median()  # fluid over fluid
    assert ("the t2 was aligned with the t1" in found["notes"]) == off


def test_another_persons_or_places_scan_is_refused(tmp_path):
    paths = write_contrasts(tmp_path, ("t1", "t2"))
    affine = placed()
    affine[:3, 3] += [90, 0, 0]
    nib.save(nib.Nifti1Image(nib.load(paths["t2"]).get_fdata(), affine), paths["t2"])
    with pytest.raises(InputError, match="of the brain that the first image shows"):
        LoadContrasts(ROLES, **GRID)(case_of(paths))


def test_nothing_given_and_nothing_wanted_are_told(tmp_path):
    paths = write_contrasts(tmp_path, ROLES)
    with pytest.raises(InputError, match="all of t1, t1post, t2, flair are given: name what to make"):
        LoadContrasts(ROLES, **GRID)(case_of(paths))
    with pytest.raises(InputError, match="nothing is given to make it from"):
        LoadContrasts(ROLES, target="t1", **GRID)(case_of({"t1": paths["t1"]}))
    with pytest.raises(InputError, match="unknown role"):
        LoadContrasts(ROLES, target="t3", **GRID)


def test_an_array_is_a_t1():
    shape = (40, 44, 36)
    affine = placed(shape, (1.0, 1.0, 1.0))
    head = sample("head", shape, np.diag([4.0, 4, 4, 1]) @ affine)
    with pytest.raises(InputError):  # 1 mm voxels: no head of 44 mm
        LoadContrasts(ROLES, **GRID)({"image": head, "case": "array"})


def test_a_training_list_of_single_files_becomes_people(tmp_path):
    for seed in range(2):
        write_contrasts(tmp_path, ("t1", "flair"), f"p{seed}", seed)
    write_contrasts(tmp_path, ("t1",), "alone")  # teaches nothing
    entries = [{"image": str(p)} for p in sorted(tmp_path.iterdir())]
    data = ContrastSlices(entries, ROLES, (48, 48), 4.0, batch_size=6, batches=2)
    batch, again = data[0], data[0]
    assert torch.equal(batch["image"], again["image"]) and not torch.equal(batch["image"], data[1]["image"])
    assert batch["image"].shape == (6, 4, 48, 48) and batch["concat"].shape == (6, 9, 48, 48) and batch["vector"].shape == (6, 9)
    given, wanted = batch["vector"][:, :4], batch["vector"][:, 4:8]
    assert (given.sum(1) == 1).all() and (wanted.sum(1) == 1).all() and not given[:, 1:3].any() and not wanted[:, 1:3].any()
    assert torch.equal(batch["concat"][:, :4], batch["image"] * given[:, :, None, None])


def test_a_complete_person_keeps_all_contrasts(tmp_path):
    paths = write_contrasts(tmp_path, ROLES)
    data = ContrastSlices([case_of(paths)], ROLES, (48, 48), 4.0, augment=False)
    assert (data.known == 1).all() and all((data.slices[:, k].float().amax((1, 2)) > 0.3).all() for k in range(4))
    cases = role_cases([case_of(paths)], ROLES)
    whole = LoadContrasts(ROLES, **GRID)(cases[0] | {"given": "t1+t1post+t2"})
    assert float(data.slices[:, 0].float().sum()) == pytest.approx(float(whole["image"].as_tensor()[0].sum()), rel=0.01)


def test_people_with_one_contrast_each_cannot_train(tmp_path):
    write_contrasts(tmp_path, ("t1",), "a")
    with pytest.raises(InputError, match="no person of the list has two of t1, t1post, t2, flair"):
        ContrastSlices([{"image": str(p)} for p in tmp_path.iterdir()], ROLES, (48, 48), 4.0)


def test_a_case_can_name_what_is_wanted_and_slices_can_be_left_out(tmp_path):
    found = LoadContrasts(ROLES, **GRID)(case_of(write_contrasts(tmp_path), given="t1", wanted="t2"))
    assert found["wanted"].tolist() == [0, 0, 1, 0]
    thin = EverySlice(3)(found)
    assert torch.equal(thin["truth"].as_tensor(), found["truth"].as_tensor()[..., ::3])
    assert torch.equal(thin["slice_index"], found["slice_index"][::3]) and len(thin["position"]) == thin["image"].shape[-1]
    assert (thin["image"].affine @ torch.tensor([1.0, 2, 1, 1]).double()).allclose(
        found["image"].affine @ torch.tensor([1.0, 2, 3, 1]).double()
    )
    with pytest.raises(InputError, match="every=0"):
        EverySlice(0)

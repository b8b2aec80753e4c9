"""PET in the task translate: what is read, what the sampler is held to, what is left, simulated cases, training batches."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from diffzoo.diffusion.precond import edm, x0
from diffzoo.diffusion.samplers import named
from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_volume
from diffzoo.imaging.pet import noise_amount
from diffzoo.imaging.phantoms.volumes import sample
from diffzoo.tasks.translate.pet import FULL, MODES, LoadPET, centre_of
from diffzoo.tasks.translate.pet_cases import simulated_pets
from diffzoo.tasks.translate.pet_inferer import DenoisePET, Measured, consistent
from diffzoo.tasks.translate.pet_outputs import AddFilters, NamePET
from diffzoo.tasks.translate.pet_slices import PetSlices

SHAPE = (45, 53, 13)
AFFINE = np.diag([4.0, 4.0, 12.0, 1.0])
AFFINE[:3, 3] = -AFFINE[:3, :3] @ (np.array(SHAPE) - 1) / 2


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Files of one simulated person by role."""
    folder = tmp_path_factory.mktemp("person")
    return {
        role: str(write_volume(folder / f"anna_{role}.nii.gz", sample("pet", SHAPE, AFFINE, 0, role), AFFINE))
        for role in ("pet", "t1", FULL)
    }


def loaded(person, roles=("pet", "t1", FULL), **options) -> dict:
    files = {role: person[role] for role in roles}
    return LoadPET(grid_mm=4.0, field=(48, 56), **options)({"image": person["pet"], "case": "anna", **files})


def test_pet_and_t1_come_in_units_of_the_cortex_with_the_truth(person):
    data = loaded(person)
    assert data["mode"] == "pet_mr" and data["given"].tolist() == [1, 1] and data["known"].tolist() == [1]
    image, truth, inside = (data[key].as_tensor() for key in ("image", "truth", "inside"))
    assert image.shape == (2, *inside.shape[1:]) and truth.shape == inside.shape
    assert not image[:, inside[0] == 0].any() and 0.7 < float(truth.max()) < 1.5
    error = (image[0] - truth[0])[inside[0] > 0]
    assert abs(float(error.mean())) < 0.02 and float(error.std()) < 0.2
    amount = noise_amount(image[0].movedim(-1, 0), inside[0].movedim(-1, 0), 1.0)
    assert float(data["noise"]) == pytest.approx(amount)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_says_what_the_network_is_told(person, mode):
    data = loaded(person, mode=mode)
    assert data["given"].tolist() == [float("pet" in MODES[mode]), float("t1" in MODES[mode])]
    assert bool(data["consistent"]) == (mode == "mr_petcon")
    assert data["given_roles"] == ("t1" if mode == "mr" else "pet" if mode == "pet" else "pet+t1")


def test_without_a_t1_the_pet_is_enough_unless_the_mode_needs_one(person):
    assert loaded(person, ("pet",))["mode"] == "pet"
    with pytest.raises(InputError, match="mode=mr_petcon needs a T1 of the same person: give -i t1=FILE, or set mode=pet"):
        loaded(person, ("pet",), mode="mr_petcon")
    with pytest.raises(InputError, match="mode=mri: unknown"):
        LoadPET(mode="mri")
    with pytest.raises(InputError, match="has no PET: give -i pet=FILE"):
        LoadPET()({"image": person["t1"], "t1": person["t1"], "case": "anna"})


def test_the_unit_of_a_pet_changes_nothing_but_its_scale(tmp_path, person):
    pet = nib.load(person["pet"]).get_fdata()
    other = write_volume(tmp_path / "bob_pet.nii.gz", (0.01 * pet).astype(np.float32), AFFINE)
    first, second = loaded(person, ("pet",)), LoadPET(grid_mm=4.0, field=(48, 56))({"image": str(other), "case": "bob"})
    assert second["scale"] == pytest.approx(0.01 * first["scale"], rel=1e-4)
    torch.testing.assert_close(first["image"].as_tensor(), second["image"].as_tensor(), atol=1e-4, rtol=1e-3)


def test_an_output_is_on_the_grid_of_the_scan_and_keeps_it_beyond_the_brain(person):
    data = loaded(person)
    out = NamePET()(data | {"pred": data["truth"].as_tensor()})
    stored, scan = out[FULL], data["scan"]
    assert stored.shape == scan.shape and np.allclose(stored.affine, AFFINE) and FULL + "_std" not in out
    far = torch.zeros(SHAPE, dtype=torch.bool)
    far[:4] = far[-4:] = True
    torch.testing.assert_close(stored.as_tensor()[0][far], scan.as_tensor()[0][far].float())
    full = torch.from_numpy(nib.load(person[FULL]).get_fdata()).float()
    inner = full > 0.5 * full.max()
    assert float((stored.as_tensor()[0] - full)[inner].abs().mean()) < 0.04 * float(full.max())
    assert json.loads(out["acquisition"])["mode"] == "pet_mr"
    three = NamePET()(data | {"pred": data["truth"].as_tensor().repeat(3, 1, 1, 1)})
    assert {"mean", "draw", "std", FULL + "_std"} <= set(three)


def test_data_rule_is_the_mean_of_two_gaussians():
    y, x0 = torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 4, 4), 1.0)
    for sd, sigma in ((0.5, 0.5), (1.0, 0.1), (1e-6, 0.3), (1e6, 0.3)):
        found = consistent(lambda x, s: x0, Measured(y, torch.full_like(y, sd)), x0, sigma)
        precise = (y / sd**2 + x0 / sigma**2) / (1 / sd**2 + 1 / sigma**2)
        torch.testing.assert_close(found, precise)
    torch.testing.assert_close(consistent(lambda x, s: x0, Measured(y, torch.full_like(y, 1e-6)), x0, 0.3), y)
    torch.testing.assert_close(consistent(lambda x, s: x0, Measured(y, torch.full_like(y, 1e6)), x0, 0.3), x0)


def test_a_centre_is_the_smoothed_pet_where_that_is_told():
    inside = torch.zeros(2, 1, 24, 24)
    inside[..., 4:20, 4:20] = 1
    pet, given = 0.7 * inside, torch.tensor([[1.0], [0.0]])
    centre = centre_of(pet, given, inside, 3.0)
    torch.testing.assert_close(centre[:1], pet[:1])  # even at the rim of the brain
    assert not centre[1].any() and not centre_of(pet, given, inside, 0.0).any()


class Nothing(torch.nn.Module):
    """A network that adds nothing to what its preconditioner keeps."""

    def forward(self, x, c_noise, **conditions):
        return torch.zeros_like(x)


@pytest.mark.parametrize("mode", ["pet", "mr_petcon"])
def test_a_prior_without_opinion_gives_the_centre_or_the_data(person, mode):
    data = loaded(person, mode=mode)
    inferer = DenoisePET(
        precond=x0(),
        sampler=named("euler"),
        sigmas=[10.0, 0.5, 0.0],
        sources=["pet", "t1"],
        targets=[FULL],
        centre=2.0,
        trust=1e-4,
    )
    known = {key: torch.as_tensor(data[key])[None] for key in inferer.conditions}
    image = inferer(torch.as_tensor(data["image"])[None], Nothing(), **known)[0]
    pet, inside = data["image"].as_tensor()[:1], data["inside"].as_tensor()
    slices = (x.movedim(-1, 0) for x in (pet, inside))
    given = torch.ones(len(data["position"]), 1)
    expected = centre_of(*(next(slices), given, next(slices)), 2.0).movedim(0, -1) if mode == "pet" else pet.clamp(0, 2)
    torch.testing.assert_close(image, torch.as_tensor(expected), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="needs trust > 0"):
        DenoisePET(precond=x0(), sampler=named("euler"), sigmas=[1.0, 0.0], sources=["pet"], targets=[FULL], trust=0)


def test_one_call_stands_for_the_mean_of_draws(person):
    data = loaded(person, mode="pet")
    options = {"precond": edm(0.4), "sampler": named("ancestral"), "sigmas": [10.0, 1.0, 0.0], "sources": ["pet", "t1"]}
    draws, call = (DenoisePET(**options, targets=[FULL], samples=2, centre=2.0, estimate=e) for e in ("draws", "call"))
    known = {key: torch.as_tensor(data[key])[None] for key in call.conditions}
    first, second = (inferer(torch.as_tensor(data["image"])[None], Nothing(), **known)[0] for inferer in (draws, call))
    assert torch.equal(first[1:], second[1:]) and not torch.equal(first[0], second[0])
    alone = DenoisePET(**options | {"sigmas": [10.0, 0.0]}, targets=[FULL], centre=2.0)
    torch.testing.assert_close(alone(torch.as_tensor(data["image"])[None], Nothing(), **known)[0, 0], second[0])


def test_filters_lower_the_noise(person):
    data = loaded(person)
    out, truth, inside = AddFilters(6.0, 1.0, 4.0)(data), data["truth"].as_tensor(), data["inside"].as_tensor() > 0
    error = {key: float((out[key].as_tensor() - truth)[inside].std()) for key in ("gaussian", "nonlocal", "source")}
    assert error["nonlocal"] < error["source"] and torch.equal(out["source"].as_tensor(), data["image"].as_tensor()[:1])


def test_an_evaluation_needs_a_truth_or_a_template(tmp_path, person):
    case = {"image": person["pet"], "pet": person["pet"], FULL: person[FULL], "case": "anna"}
    assert simulated_pets([case], tmp_path) == [case]
    with pytest.raises(InputError, match="nothing to compare with: give a fullpet of the same person, or a T1 with its template"):
        simulated_pets([{"image": person["t1"], "t1": person["t1"], "case": "anna"}], tmp_path)
    with pytest.raises(InputError, match="dose lie in"):
        simulated_pets([case], tmp_path, dose=2.0)


def test_training_batches_of_real_pairs_are_what_the_loader_gives(person):
    entry = {"image": person["pet"], **person}
    options = {"size": (48, 56), "grid_mm": 4.0, "batch_size": 6, "batches": 2}
    first, again = (PetSlices([entry], augment=False, centre_mm=0.0, **options)[0] for _ in range(2))
    assert first["image"].shape == (6, 1, 48, 56) and first["concat"].shape == (6, 5, 48, 56) and first["vector"].shape == (6, 4)
    assert torch.equal(first["concat"], again["concat"])
    told = first["vector"][:, :2]
    assert (told.sum(1) > 0).all() and not first["concat"][told[:, 0] == 0][:, 0].any()
    data = loaded(person)
    slices = data["truth"].as_tensor()[0].movedim(-1, 0)
    nearest = [min(float((x[0] - s).abs().max()) for s in slices) for x in first["image"]]
    assert max(nearest) < 2e-3  # half precision
    less = PetSlices([entry], augment=False, **options)[0]
    assert not torch.equal(less["image"], first["image"])
    alone = PetSlices([{"image": person["pet"], "pet": person["pet"], FULL: person[FULL]}], **options)[0]
    assert (alone["vector"][:, 0] == 1).all() and (alone["vector"][:, 1] == 0).all()


def test_a_person_without_anything_to_learn_from_is_refused(person):
    with pytest.raises(InputError, match="has no PET of full counts to learn from"):
        PetSlices([{"image": person["pet"], "pet": person["pet"]}])

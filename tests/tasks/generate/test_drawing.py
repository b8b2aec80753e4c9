"""What is asked of maps out of nothing: by seed, of the flag and place that somebody names, with shares of training maps."""

import math

import pytest
import torch
from safetensors.torch import save_file

from diffzoo.errors import InputError
from diffzoo.tasks.generate.drawing import asked, codes_of, load_prior, to_draw
from diffzoo.tasks.generate.label_maps import LoadMaps

PLACES = torch.linspace(0, 1, 41)


def rows(flags=(0.0, 1.0)):
    """Maps of 41 places without lesion and with, whose shares tell the place."""
    return torch.cat([torch.stack([torch.full((41,), flag), PLACES, PLACES + 2 * flag], 1) for flag in flags])


def test_flag_place_and_shares_of_each():
    told = asked(rows(), 200, 3)
    assert told.shape == (200, 3) and set(told[:, 0].tolist()) == {0.0, 1.0} and 0.35 < told[:, 0].mean() < 0.65
    assert 0.2 <= told[:, 1].min() < 0.25 and 0.75 < told[:, 1].max() <= 0.8
    assert torch.equal(told[5:], asked(rows(), 195, 8))  # of the seed alone
    away = told[:, 2] - 2 * told[:, 0] - told[:, 1]
    assert away.abs().max() < 0.2 and len(set(away.tolist())) > 20  # of maps of that flag from near that place, in turn


def test_what_is_named_is_asked():
    fixed = asked(rows(), 4, 0, lesion=1, place=0.5)
    assert fixed[:, 0].tolist() == [1] * 4 and fixed[:, 1].tolist() == [0.5] * 4 and (fixed[:, 2] > 2).all()


def test_shares_are_left_to_the_network_where_no_map_had_that_flag():
    assert asked(rows([0.0]), 3, 0, lesion=1)[:, 2:].isnan().all()


@pytest.mark.parametrize(("given", "told"), [({"lesion": 2}, "lesion=2"), ({"place": 1.5}, "slice=1.5")])
def test_what_cannot_be_asked_is_told(given, told):
    with pytest.raises(InputError, match=told):
        asked(rows(), 1, 0, **given)


def test_cases_of_nothing_say_what_is_asked():
    prior = {"conditions": rows()}
    cases = to_draw(prior, 12, seed=3, lesion="with", place=0.5)
    assert [case["case"] for case in cases][:2] == ["sample_01", "sample_02"]
    assert [int(case["number"]) for case in cases] == list(range(12))
    item = LoadMaps(None, 2.5, (64, 80))(cases[0])
    assert item["image"].shape == (5, 64, 80, 1) and not item["image"].any() and item["asked"].shape == (3,)
    assert len({float(case["asked"][1]) for case in to_draw(prior, 12, seed=3)}) == 12
    first, second = (to_draw(prior, 2, seed)[k]["asked"][1] for seed, k in ((4, 0), (3, 1)))
    assert math.isclose(float(first), float(second))  # of the seed of each


@pytest.mark.parametrize("bad", [{"count": 0}, {"lesion": "maybe"}, {"place": 1.5}])
def test_what_cannot_be_drawn_is_refused(bad):
    with pytest.raises(InputError, match="give"):
        to_draw(**({"prior": {"conditions": rows()}, "count": 1, "seed": 0} | bad))


def test_codes_are_those_of_the_modality(tmp_path):
    save_file({"t1": torch.ones(3, 4).half(), "conditions": rows().half()}, tmp_path / "prior.safetensors")
    prior = load_prior(tmp_path / "prior.safetensors")
    assert codes_of(prior, "t1").dtype == torch.float32 and prior["conditions"].shape == (82, 3)
    for name in ("flair", "conditions"):
        with pytest.raises(InputError, match=f"styles for t1, not for {name}"):
            codes_of(prior, name)


def test_the_smallest_of_near_lesions_are_not_asked_for():
    same = torch.tensor([[1.0, 0.5, k] for k in range(12)] + [[0.0, 0.5, -k] for k in range(12)])
    told = asked(same, 300, 0, place=0.5)
    assert set(told[told[:, 0] == 1, 2].tolist()) == set(range(4, 12)) and len(set(told[told[:, 0] == 0, 2].tolist())) == 8

"""Checks of a synthetic CT on an inferer whose draws are known: what follows the MR, what comes back, where draws spread."""

import sys
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import measure_mri_to_ct as measure


class Inferer:
    """Its draw is the MR itself, and its spread 1 - MR."""

    conditions = ("given", "wanted", "position")
    sigmas, precond = [10.0, 0.0], None

    def __call__(self, image, network, **told):
        return torch.cat([image, image, 1 - image], 1)

    def bound(self, denoiser, batch, clean):
        return lambda x, sigma: x / (1 + sigma**2)  # of data of unit variance


class Session:
    def get(self, name):
        return Inferer() if name == "inferer" else torch.nn.Identity()


@pytest.fixture
def item():
    image = torch.full((1, 16, 16, 4), 0.5)
    image[..., 2:] = 0.8
    image[:, :4] = 0.1
    told = {key: torch.ones(1) for key in ("given", "wanted")} | {"position": torch.ones(4)}
    truth = torch.where(image < 0.2, 1.0, 0.52)
    return {"image": MetaTensor(image), "truth": MetaTensor(truth), "inside": MetaTensor(torch.ones_like(image)), **told}


def test_slices_of_another_place_are_worse_where_the_draw_follows_the_mr(item):
    item["truth"] = MetaTensor(item["image"].as_tensor() + 0.015)
    found = measure.conditioning(Session(), item, item["image"].as_tensor()[0])
    assert found["psnr_own_mr"] == pytest.approx(40, abs=1e-3) and found["drop_db"] > 20


def test_the_ode_of_a_linear_denoiser_comes_back(item):
    assert measure.there_and_back(Session(), item) < 1e-5


def test_spread_is_compared_by_place_and_by_mr(item):
    found = measure.spread(Session(), item)
    soft = (1 - 0.5 + 1 - 0.8) / 2
    assert found["std_dark_to_soft"] == pytest.approx(0.9 / soft, rel=1e-5)
    assert found["std_void_ratio"] > 1.5  # a void has spread 1
    own, turned = (0.25 * 0.9 + 0.75 * soft), (0.25 * 0.1 + 0.75 * (1 - soft))
    assert found["std_turned_contrast_ratio"] == pytest.approx(turned / own, rel=1e-5)

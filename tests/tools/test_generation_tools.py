"""The programs that measure a generator: Dice, a network that learns, and the tables of the card."""

import sys
from pathlib import Path

import pytest
import torch

from diffzoo.tasks.task import task_of
from diffzoo.zoo.tables import results_of

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import segmentation


def test_dice_of_label_volumes():
    truth = torch.tensor([[[0, 1, 1], [2, 2, 3]]])
    found = torch.tensor([[[0, 1, 2], [2, 2, 3]]])
    told = segmentation.dice(found, truth)
    assert told["csf"] == pytest.approx(2 / 3) and told["grey"] == pytest.approx(4 / 5) and told["white"] == 1
    assert "lesion" not in told and told["tissue"] == pytest.approx((2 / 3 + 4 / 5 + 1) / 3)


def test_a_network_learns_shades_and_by_its_seed():
    shades = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 5, 1, 1)

    def batch(step):
        kind = torch.randint(5, (4, 1, 4, 4), generator=torch.Generator().manual_seed(step)).repeat_interleave(8, 2)
        label = torch.zeros(4, 5, 32, 32).scatter_(1, kind.repeat_interleave(8, 3), 1.0)
        return (label * shades).sum(1, keepdim=True), label

    network = segmentation.trained(batch, 40, seed=0)
    image, label = batch(99)
    assert (segmentation.labelled(network, image) == label.argmax(1)).float().mean() > 0.7
    again = segmentation.trained(batch, 2, seed=0).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in segmentation.trained(batch, 2, seed=0).state_dict().items())


def test_the_card_shows_images_and_what_they_are_worth():
    image = {
        "what": "Test",
        "mean": {"painted": {"psnr": 22.04, "ssim": 0.81}, "round_trip": {"dice": 0.912}},
        "cases": {"a": {}},
    }
    figures = {"tissue": 0.8, "csf": 0.7, "grey": 0.8, "white": 0.9}
    worth = {
        "mean": {f"trained_on_{kind}": figures | {"lesion": 0.4} for kind in ("real", "drawn", "both")}
        | {
            "maps": {"lesion_when_asked": 0.95, "lesion_when_not": 0.05, "drawn": 200}
            | {f"{k}_volume": 1.02 for k in ("csf", "grey", "white")},
            "painted": {"again": 0.88, "edges_ssim": 0.7, "contrast_r": 0.95},
        },
        "segmentation": {k: {"mean": {key: [0.9, 0.8, 0.7] for key in (*figures, "lesion")}} for k in ("real", "drawn", "both")},
        "distance": {"n": 100, "fake": 8.11, "real": 2.02, "null": 59.4},
        "memorisation": {"copy_fraction": 0.0, "copy_interval": [0.0, 0.02], "membership": {"auc": 0.6, "interval": [0.5, 0.7]}},
    }
    recipe = {"headline": "generation", "methods": {"painted": "painted", "round_trip": "maps by way of their latents"}}
    text = results_of({"test": image, "generation": worth}, recipe, task_of("generate"))
    for told in (
        "22.0 dB",
        "0.912",
        "0.800 (0.70, 0.80, 0.90)",
        "95 % of 100",
        "5 % of 100",
        "8.11 (real 2.02",
        "0.0 % (0.0 to 2.0 %)",
    ):
        assert told in text
    assert text.count("| Test, 1 images |") == 2

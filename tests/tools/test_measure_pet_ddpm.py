"""Checks of a denoised PET on images that are known: bias of regions, recovery of lesions, what the std says."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import measure_pet_ddpm as measure


@pytest.fixture
def item():
    truth = torch.full((1, 16, 16, 8), 0.3)
    truth[:, :8] = 1.0
    truth[:, 2:4, 2:4] = 0.4
    truth[:, 12:14, 2:4] = 1.8
    return {"truth": truth, "inside": torch.ones_like(truth)}


@pytest.fixture
def where(item):
    regions = torch.where(item["truth"][0] > 0.9, measure.GREY, measure.WHITE)
    regions[2:4, 2:4], regions[12:14, 2:4] = measure.COLD, measure.HOT
    return regions


def test_the_truth_has_no_bias_and_all_of_its_lesions(item, where):
    found = measure.judged(torch.cat([item["truth"], item["truth"], torch.ones_like(item["truth"])]), item, where)
    assert found["bias_grey"] == found["bias_white"] == 0 and found["recovery_hot"] == found["recovery_cold"] == 1


def test_a_shift_is_a_bias_and_a_lesion_that_is_lost_has_no_contrast(item, where):
    image = item["truth"] * 1.1
    image[0][where == measure.HOT] = image[0][where == measure.WHITE].mean()
    error = (image - item["truth"]).abs()
    found = measure.judged(torch.cat([image, image, 2 * error]), item, where)
    assert found["bias_grey"] == pytest.approx(0.1, abs=1e-5) and found["bias_white"] == pytest.approx(0.1, abs=1e-5)
    assert found["recovery_hot"] == pytest.approx(0, abs=1e-6) and found["recovery_cold"] == pytest.approx(1.1, abs=1e-4)
    assert found["spearman"] == pytest.approx(1) and found["mean_std"] == pytest.approx(float(2 * error.mean()))


def test_the_middle_slices_are_cut_alike(item):
    data = item | {"image": item["truth"], "position": torch.arange(8), "slice_index": torch.arange(8), "noise": torch.ones(1)}
    cut = measure.middle(data)
    assert cut["image"].shape == (1, 16, 16, 2) and cut["position"].tolist() == [4, 5] and cut["noise"] is data["noise"]

"""The measurements of counterfactuals: stacks, labels by voxels, AUROC, and the picture of a sweep."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import figure_counterfactuals
import measure_counterfactuals as measure


@pytest.fixture
def item():
    mask = torch.zeros(1, 8, 8, 6)
    mask[:, 2:4, 2:4, 2] = 1
    mask[:, 2, 2, 4] = 1
    image = torch.rand(1, 8, 8, 6, generator=torch.Generator().manual_seed(0))
    more = {"vector": torch.zeros(6, 4), "slice_index": torch.arange(6), "group": "10 mm", "clean": image[0].numpy()}
    return {"image": image + mask, "brain": torch.ones(1, 8, 8, 6), "mask": mask, **more}


def test_slices_are_labelled_by_their_voxels_and_a_clean_copy_has_none(item):
    stack, clean = measure.Stack(item), measure.Stack(item, key="clean")
    assert stack.label.tolist() == [0, 0, 1, 0, -1, 0] and not clean.label.any()
    assert stack.image.shape == clean.image.shape == (1, 1, 8, 8, 6)
    assert stack.edges(stack.image[0, 0])[2] > 1 > clean.edges(clean.image[0, 0])[2]
    thin = measure.Stack(item, every=2)
    assert thin.label.tolist() == [0, 1, -1] and thin.given["slice_index"].tolist() == [[0, 2, 4]]


def test_auroc_leaves_out_what_is_not_labelled():
    told = measure.judged({"map": [torch.tensor([0.1, 0.9]), torch.tensor([5.0, 0.2])]}, torch.tensor([0, 1, -1, 0]))
    assert told == {"map": 1.0, "diseased": 1, "healthy": 2}


def test_numbers_have_four_digits():
    assert measure.rounded({"a": {"b": 0.123456}, "c": 3}) == {"a": {"b": 0.1235}, "c": 3}


def test_the_sweep_is_drawn_in_order(tmp_path, monkeypatch):
    methods = ("anomaly_map", "noised", "mean_distance", "brightness")
    one = {m: {key: {"mean": 0.5} for key in figure_counterfactuals.PANELS} for m in methods}
    found = {f"guidance_{w}": {"groups": {"10 mm": {"methods": one}}} for w in ("10", "0", "2")}
    (tmp_path / "bundles" / "toy" / "docs").mkdir(parents=True)
    (tmp_path / "bundles" / "toy" / "docs" / "results.json").write_text(json.dumps({"evaluations": found}))
    monkeypatch.setattr(figure_counterfactuals, "ROOT", tmp_path)
    figure_counterfactuals.main("toy")
    assert (tmp_path / "bundles" / "toy" / "docs" / "figure.png").stat().st_size > 5000

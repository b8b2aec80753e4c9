"""Calibrations without pairs: quantiles, a matched histogram that undoes any monotone change, the line of least squares."""

import numpy as np
import pytest
import torch
from ct_toy import body
from monai.data import MetaTensor

from diffzoo.imaging.edges import to_units
from diffzoo.tasks.translate.ct_baselines import (
    AddCalibrations,
    best_line,
    matched,
    quantiles_of,
    save_quantiles,
    training_quantiles,
)

CT = to_units(torch.from_numpy(body() + np.random.default_rng(0).normal(0, 30, body().shape)))[None].float()
INSIDE = CT > 0.04


def test_quantiles_are_those_of_numpy():
    values = torch.randn(1001, generator=torch.Generator().manual_seed(0))
    wanted = np.quantile(values.double().numpy(), np.linspace(0, 1, 64))
    np.testing.assert_allclose(quantiles_of(values, 64).numpy(), wanted, atol=1e-12)


def test_a_matched_histogram_undoes_a_monotone_change():
    bent = torch.where(INSIDE, 0.2 + 0.5 * CT**1.5, CT)
    found = matched(bent, INSIDE, quantiles_of(CT[INSIDE]))
    assert float((found - CT)[INSIDE].abs().mean()) < 0.002 < 0.05 < float((bent - CT)[INSIDE].abs().mean())
    torch.testing.assert_close(found[~INSIDE], CT[~INSIDE])


def test_the_best_line_is_that_of_least_squares():
    noise = 0.02 * torch.randn(CT.shape, generator=torch.Generator().manual_seed(1))
    source = 0.1 + 0.7 * CT + noise
    slope, shift = np.polyfit(source[INSIDE].double().numpy(), CT[INSIDE].double().numpy(), 1)
    torch.testing.assert_close(best_line(source, CT, INSIDE), (slope * source + shift).clamp(0, 1.5).float(), atol=1e-5, rtol=0)


def test_quantiles_of_training_are_those_of_the_bodies_by_weight():
    stack = CT[0].movedim(-1, 0).half()
    found = training_quantiles([stack, stack * 0, stack], torch.tensor([0.5, 0.2, 0.3]), 3.0)
    alone = training_quantiles([stack], torch.tensor([1.0]), 3.0)
    torch.testing.assert_close(found, alone, atol=0.01, rtol=0)
    assert found[0] >= 0 and 0.4 < float(found[len(found) // 2]) < 0.6  # of tissue, not of the air around


def test_an_item_gets_its_calibrations(tmp_path):
    path = tmp_path / "quantiles.safetensors"
    save_quantiles(quantiles_of(CT[INSIDE]), path)
    item = {"image": MetaTensor(0.9 * CT), "truth": MetaTensor(CT), "inside": MetaTensor(INSIDE), "known": torch.ones(1)}
    made = AddCalibrations(str(path))(item)
    torch.testing.assert_close(made["source"].as_tensor(), 0.9 * CT)
    assert float((made["best_line"] - CT).as_tensor()[INSIDE].abs().max()) < 1e-4
    assert float((made["matched"] - CT).as_tensor()[INSIDE].abs().mean()) < 1e-3
    assert "best_line" not in AddCalibrations(str(path))(item | {"known": torch.zeros(1)})
    assert made["matched"].shape == (1, *CT.shape[1:]) and pytest.approx(1.0) == float(made["known"])

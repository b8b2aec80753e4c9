"""Figures of a CT in closed form: of itself, of a shift, of a disc that grew, of edges aside, and of slices that gained."""

import numpy as np
import pytest
import torch
from ct_toy import body

from diffzoo.imaging.edges import to_units
from diffzoo.tasks.translate.ct_judged import ct_figures, dice, edges, gains, near_f1

TRUTH = to_units(torch.from_numpy(body())).numpy()
INSIDE = body() > -950


def test_a_ct_is_like_itself():
    found = ct_figures(TRUTH, TRUTH, INSIDE)
    assert found == {"bias": 0.0, "edge_f1": 1.0, "dice_bone": 1.0, "dice_air": 1.0}


def test_a_shift_is_the_bias_and_moves_no_edge():
    found = ct_figures(TRUTH + 30 / 2000, TRUTH, INSIDE)
    assert found["bias"] == pytest.approx(30, abs=1e-3) and found["edge_f1"] == 1.0 and found["dice_bone"] == 1.0


def test_bone_that_is_lost_has_no_dice_and_none_in_the_truth_no_figure():
    soft = np.minimum(TRUTH, to_units(torch.tensor(100.0)).item())
    assert ct_figures(soft, TRUTH, INSIDE)["dice_bone"] == 0.0
    assert np.isnan(ct_figures(TRUTH, soft, INSIDE)["dice_bone"])
    assert ct_figures(np.full_like(TRUTH, 0.5), TRUTH, INSIDE)["edge_f1"] == 0.0


def test_an_edge_is_a_step_of_more_than_its_height():
    step = np.zeros((8, 8, 1), np.float32)
    step[4:] = 130 / 2000  # 65 HU a pixel on either side of the step
    assert edges(step)[3:5].all() and not edges(step)[[2, 5]].any()
    assert not edges(step * 0.9).any()


def test_an_edge_one_pixel_aside_counts_and_two_do_not():
    true = np.zeros((9, 9, 1), bool)
    true[4] = True
    assert near_f1(np.roll(true, 1, 0), true) == 1.0 and near_f1(np.roll(true, 2, 0), true) == 0.0
    half = true.copy()
    half[:, 5:] = False  # 5 of 9 are found, and a neighbour of them
    assert near_f1(half, true) == pytest.approx(2 * (6 / 9) / (1 + 6 / 9))
    assert np.isnan(near_f1(true, np.zeros_like(true)))


def test_dice_of_two_blocks():
    one, other = np.zeros((2, 10, 10, 1), bool)
    one[:4], other[2:6] = True, True
    assert dice(one, other) == pytest.approx(0.5)


def test_the_share_of_slices_that_gained():
    rough = TRUTH + np.random.default_rng(0).normal(0, 0.05, TRUTH.shape)
    made = np.where(np.arange(6) < 4, TRUTH + 0.2 * (rough - TRUTH), TRUTH + 2 * (rough - TRUTH))
    assert gains(made, rough, TRUTH, INSIDE, 1.5) == {"better_psnr": pytest.approx(4 / 6), "better_ssim": pytest.approx(4 / 6)}
    assert np.isnan(gains(made, rough, TRUTH, np.zeros_like(INSIDE), 1.5)["better_psnr"])

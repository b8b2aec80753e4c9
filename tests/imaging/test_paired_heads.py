"""Tissues of a whole head from its T1 and an average CT head, on shells whose tissues are known."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from whole_head import whole_head

from diffzoo.errors import InputError
from diffzoo.imaging.paired_heads import (
    AIR,
    CORTICAL,
    MARROW,
    OUTSIDE,
    WHITE,
    air_share,
    average_head,
    head_labels,
    hounsfield,
    outer_labels,
    soft_maps,
)


def test_the_toolbox_scale_has_its_knots_and_never_falls():
    assert hounsfield(np.array([0.0, 900.0, 3100.0, 3794.0])).tolist() == [-1000.0, -100.0, 100.0, 794.0]
    assert (np.diff(hounsfield(np.arange(0.0, 4000.0))) > 0).all()


def template():
    labels = whole_head("labels").numpy()[0]
    brain = torch.from_numpy(labels > 5)
    parts = [whole_head("t1")[0].as_tensor() / 1000 * brain, torch.from_numpy(labels == 7), torch.from_numpy(labels == 8)]
    ct = whole_head("ct")
    return ct, MetaTensor(torch.stack([p.float() for p in parts]), affine=ct.affine)


def test_the_tissues_of_a_head_like_the_average_are_found():
    found, scan = head_labels(whole_head("t1", noise=10), *template())
    labels, truth = found.numpy()[0], whole_head("labels").numpy()[0]
    assert scan.shape == found.shape and found.dtype == torch.uint8
    for k in (0, 2, 3, 4, 5, 7, 8):
        overlap = 2 * ((labels == k) & (truth == k)).sum() / ((labels == k).sum() + (truth == k).sum())
        assert overlap > 0.85, k


def test_of_thin_slices_every_second_is_taken():
    head = whole_head("t1", noise=10)
    affine = head.affine.numpy() @ np.diag([1, 1, 0.25, 1])
    thin = MetaTensor(head.as_tensor().repeat_interleave(4, dim=3), affine=affine)
    found, scan = head_labels(thin, *template())
    assert found.shape == scan.shape == (1, 50, 50, 100) and np.allclose(found.affine[:, 2], 2 * affine[:, 2])


def test_a_dark_place_is_air_or_bone_as_the_average_head_tells():
    u, sizes = np.full((40, 40, 12), 0.6), (2.0, 2.0, 2.0)
    head, brain = np.ones(u.shape, bool), np.zeros(u.shape, bool)
    head[:2], head[-2:], head[:, :2], head[:, -2:] = False, False, False, False
    brain[16:24, 16:24] = True
    u[8:12, 16:24], u[28:32, 16:24] = 0.05, 0.05
    average = np.full(u.shape, 40.0)
    average[6:14], average[26:34] = -300.0, 400.0
    found = outer_labels(u, head, brain, average, sizes)
    assert (found[8:12, 16:24] == AIR).all() and (found[29:31, 18:22] == CORTICAL).all()
    assert (found[~head] == OUTSIDE).all() and not (found[brain] == CORTICAL).any()


def test_marrow_lies_between_the_tables_of_a_skull():
    truth = whole_head("labels", 2.0).numpy()[0]
    t1, ct = whole_head("t1", 2.0).numpy()[0] / 500, whole_head("ct", 2.0).numpy()[0]
    found = outer_labels(t1, truth > 0, truth > 5, ct, (2.0, 2.0, 2.0))
    line = found[50:, 50, 50]
    marrow = np.flatnonzero(line == MARROW)
    assert len(marrow) and line[marrow[0] - 1] == CORTICAL and line[marrow[-1] + 1] == CORTICAL


def test_soft_maps_are_shares_and_keep_their_volume():
    labels = whole_head("labels", 2.0)
    labels = MetaTensor(labels.as_tensor().to(torch.uint8), affine=labels.affine)
    grid = np.diag([3.0, 3.0, 3.0, 1.0])
    grid[:3, 3] = -97.5
    maps = soft_maps(labels, grid, (66, 66, 66))
    assert np.allclose(maps.sum(0), 1, atol=1e-4) and maps.min() >= 0
    assert maps[WHITE].sum() * 27 == pytest.approx(float((labels == WHITE).sum()) * 8, rel=0.01)


def test_air_is_sure_far_from_bone_and_unsure_between_both():
    maps = np.zeros((9, 60, 8, 8))
    maps[AIR, :20], maps[CORTICAL, 20:] = 1, 1
    share = air_share(maps, (2.0, 2.0, 2.0))
    assert share[0].min() > 0.99 and share[-1].max() < 0.01 and share[19:21].mean() == pytest.approx(0.5, abs=0.01)
    assert (air_share(np.zeros((9, 4, 4, 4)), (2.0, 2.0, 2.0)) == 0).all()


def test_the_average_head_has_four_volumes_of_one_grid():
    one = MetaTensor(torch.full((1, 4, 4, 4), 255.0))
    ct, shown = average_head([one, one * 0, one, one * 0])
    assert ct.shape == (1, 4, 4, 4) and torch.allclose(ct.as_tensor(), torch.tensor(-745.0))
    assert torch.allclose(shown.as_tensor()[:, 0, 0, 0], torch.tensor([0.58, 1.0, 0.0]))
    with pytest.raises(InputError, match="four volumes"):
        average_head([one, one, one])

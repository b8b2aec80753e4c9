"""MR and CT of one head from its tissues: what each tissue shows, and what is drawn anew."""

import pytest
import torch

from diffzoo.imaging.paired_heads import AIR, CLASSES, CORTICAL, CSF
from diffzoo.imaging.paired_render import HU, HU_SPREAD, T1, T2, TOP, aired, render, smooth_noise


def halves(first, second, items=1, size=(32, 32)):
    maps = torch.zeros(items, len(CLASSES), *size)
    maps[:, first, : size[0] // 2], maps[:, second, size[0] // 2 :] = 1, 1
    return maps


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 8)])
@pytest.mark.parametrize("tissue", range(1, len(CLASSES)))
def test_each_tissue_shows_its_shade_and_its_hu(tissue, size):
    maps = torch.zeros(64, len(CLASSES), *size)
    maps[:, tissue] = 1
    mr, hu = render(maps, torch.full_like(maps[:, :1], float(tissue == AIR)), generator())
    assert mr.shape == (64, 2, *size) and hu.shape == (64, 1, *size)
    found, sd = float(hu.mean()), float(hu.flatten(1).mean(1).std())
    assert found == pytest.approx(HU[tissue], abs=4 + 0.5 * HU_SPREAD[tissue])
    assert sd < 4 + 2 * HU_SPREAD[tissue]
    for k, table in enumerate((T1, T2)):
        assert float(mr[:, k].mean()) == pytest.approx(table[tissue], rel=0.12, abs=0.03)


def test_outside_is_dark_and_air_and_the_top_is_cut():
    mr, hu = render(halves(0, CSF), torch.zeros(1, 1, 32, 32), generator())
    assert not mr[:, :, :16].any() and (hu[:, :, :16] == -1000).all()
    assert mr.max() <= TOP and mr.min() >= 0


def test_bone_and_air_look_alike_in_mr_and_not_in_ct():
    mr, hu = render(halves(AIR, CORTICAL), halves(AIR, CORTICAL)[:, AIR : AIR + 1], generator())
    assert float((mr[:, :, :16].mean() - mr[:, :, 16:].mean()).abs()) < 0.06
    assert float(hu[:, :, 16:].mean() - hu[:, :, :16].mean()) > 1500


def test_only_an_unsure_place_changes_between_bone_and_air():
    maps = halves(AIR, CORTICAL, items=64)
    sure = aired(maps, maps[:, AIR : AIR + 1], generator())
    assert torch.equal(sure, maps)
    unsure = aired(maps, torch.full_like(maps[:, :1], 0.5), generator())
    assert torch.allclose(unsure[:, AIR] + unsure[:, CORTICAL], maps[:, AIR] + maps[:, CORTICAL])
    share = unsure[:, AIR].flatten(1).mean(1)
    assert 0.35 < float(share.mean()) < 0.65 and float(share.std()) > 0.1
    rare = aired(maps, torch.full_like(maps[:, :1], 0.02), generator())
    assert float(rare[:, AIR].mean()) < 0.1


def test_a_generator_tells_the_draw():
    maps, air = halves(CSF, CORTICAL), torch.full((1, 1, 32, 32), 0.5)
    one, same, other = (render(maps, air, generator(s)) for s in (1, 1, 2))
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1]) and not torch.equal(one[0], other[0])


def test_smooth_noise_changes_slowly():
    field = smooth_noise(torch.zeros(200, 3, 40, 40), 10, generator())
    assert field.shape == (200, 1, 40, 40) and 0.5 < float(field.std()) < 1.1
    assert float(field.diff(dim=2).std()) < 0.35 * float(field.std())

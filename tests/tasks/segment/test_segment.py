"""Draws of masks whose exact denoiser is known, what is made of them, and what a report and a table tell."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.samplers import named
from diffzoo.diffusion.schedule import karras
from diffzoo.metrics.ambiguous import frequency_distance
from diffzoo.tasks.segment.card import compact, segmentation_rows
from diffzoo.tasks.segment.cases import repeated, with_phantoms
from diffzoo.tasks.segment.inferer import Segment
from diffzoo.tasks.segment.outputs import AddClassical, AddOneCall, NameMasks, region
from diffzoo.tasks.segment.scans import LoadPatch
from diffzoo.tasks.segment.step import logits
from diffzoo.tasks.segment.table import SegmentationTable

FREQUENCIES = (0.5, 0.3, 0.2)


def modes(size=16) -> torch.Tensor:
    """Three outlines in each other, the last empty, bool [3, S, S]."""
    masks = torch.zeros(3, size, size, dtype=torch.bool)
    masks[0, 6:10, 6:10] = True
    masks[1, 5:11, 5:11] = True
    return masks


class Readers(nn.Module):
    """The exact denoiser of masks that are drawn with known frequencies: the mean of the modes, weighed by their posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.masks = modes().float()[:, None] * 2 - 1

    def forward(self, x, c_noise, concat=None):
        far = (x[:, None] - self.masks[None]).flatten(2).square().sum(2) / (2 * torch.exp(2 * c_noise)[:, None])
        weights = (torch.tensor(FREQUENCIES).log() - far).softmax(1)
        return torch.einsum("bk,kcij->bcij", weights, self.masks)


def inferer(**options) -> Segment:
    return Segment(x0(), named("dpmpp_2m_sde"), karras(20, 0.05, 80.0, 5.0), **options)


def drawn(slices=1, chain=0, **options) -> torch.Tensor:
    known = {"patch": torch.rand(1, 1, 16, 16, slices), "slice_index": torch.arange(slices)[None], "chain": torch.tensor([chain])}
    return inferer(**options)(torch.zeros(1, 1, 20, 20, slices), Readers(), **known)


def test_draws_are_as_frequent_as_readers():
    masks = drawn(samples=500, draw_batch=100)[0, ..., 0] > 0
    off, met = frequency_distance(masks, modes(), FREQUENCIES)
    assert off < 0.06, met  # of 500 draws the distance is 0.02 by chance


def test_a_draw_depends_on_its_number_alone():
    first, again = drawn(samples=5, draw_batch=2), drawn(samples=7, draw_batch=7)
    torch.testing.assert_close(first, again[:, :5], atol=1e-5, rtol=0)
    assert not torch.equal(first, drawn(samples=5, seed=1)) and not torch.equal(first, drawn(samples=5, chain=1))


def test_slices_share_their_noise_unless_told_otherwise():
    together, apart = drawn(slices=2, samples=4), drawn(slices=2, samples=4, shared_noise=False)
    torch.testing.assert_close(together[..., 0], together[..., 1])
    assert not torch.allclose(apart[..., 0], apart[..., 1])


def test_calls_are_counted_a_draw():
    worker = inferer(samples=6, draw_batch=4)
    known = {"patch": torch.rand(1, 1, 16, 16, 3), "slice_index": torch.arange(3)[None], "chain": torch.tensor([0])}
    assert worker(torch.zeros(1, 1, 16, 16, 3), Readers(), **known).shape == (1, 6, 16, 16, 3)
    assert worker.stats["network_calls"] == 20
    with pytest.raises(ValueError, match="at least 1"):
        inferer(samples=0)


@pytest.fixture
def item():
    """A loaded image of 24 pixels, and four masks of its patch of 16."""
    grey = torch.full((24, 24, 1), -900.0)
    grey[0, 0] = 0.0
    image = MetaTensor(grey, affine=torch.diag(torch.tensor([0.5, 0.5, 1, 1], dtype=torch.float64)))
    loaded = LoadPatch(size=16)({"image": image, "case": "a"})
    masks = torch.full((4, 16, 16, 1), -1.0)
    masks[:3, 6:10, 6:10] = 1.0
    masks[0, 5:11, 5:11] = 1.0
    return loaded | {"pred": masks}


def test_maps_of_the_draws_on_the_grid_of_the_image(item):
    named_masks = NameMasks(each=True)(item)
    share = torch.as_tensor(named_masks["probability"])[0, ..., 0]
    assert share.shape == (24, 24) and share[11, 11] == 0.75 and share[9, 9] == 0.25 and share[2, 2] == 0
    assert torch.equal(torch.as_tensor(named_masks["segmentation"])[0, ..., 0] > 0, share > 0.5)
    assert named_masks["std"][0, 11, 11, 0] == pytest.approx((0.75 * 0.25) ** 0.5)
    told = json.loads(named_masks["acquisition"])
    assert (told["draws"], told["marked"], told["pixels"]) == (4, 3, [36, 16, 16, 0])
    assert named_masks["draws"].shape == (4, 24, 24, 1) and "drawn_4" not in named_masks


def test_region_growing_takes_what_is_near_the_middle():
    patch = np.zeros((32, 32), np.float32)
    patch[13:19, 13:19] = 0.5
    patch[2:8, 2:8] = 0.9
    found = region(patch, 0.2, opening=1, reach=6, smooth=0)
    assert found.sum() == 36 - 4 and found[16, 16] and not found[4, 4]  # opened, its corners are gone
    assert not region(np.where(np.indices(patch.shape)[0] < 9, patch, 0), 0.2, 1, 6, 0).any()
    assert not region(np.zeros_like(patch), 0.2, 1, 6, 0).any()


def test_methods_to_compare_with_have_one_mask_each(item):
    class Bright(nn.Module):
        def forward(self, x, c_noise, concat=None):
            return concat - 0.5

    bright = item | {"patch": (item["pred"][:1] + 1) / 2}
    found = AddClassical(level=0.2, opening=0)(AddOneCall(Bright())(bright))
    assert found["one_call"].shape == (1, 24, 24, 1) and found["one_call"].sum() == 36 == found["region"].sum()
    assert not found["empty"].any()
    assert logits(Bright(), torch.ones(1, 1, 4, 4)).shape == (1, 1, 4, 4)


def test_phantoms_stand_in_for_a_list_only_when_asked_for():
    assert with_phantoms([{"image": "a", "case": "a"}]) == [{"image": "a", "case": "a"}]
    first, second = with_phantoms([], 2, seed=3)
    assert first["group"] == "solid" and (first["chain"], second["chain"]) == (0, 1)
    loaded = LoadPatch()(first)
    assert loaded["readers"].shape[0] == 4 and loaded["patch"].shape == (1, 64, 64, 1)
    numbers = repeated(second["frequencies"])
    assert [numbers.count(k) / 20 for k in range(4)] == second["frequencies"]


class Told:
    """As much of a report as a table needs."""

    def __init__(self, cases, folder) -> None:
        self.cases, self.folder, self.parameters = cases, folder, {}


def case(name, ged, met, group="solid") -> dict:
    figures = {"ged": ged, "ci": 1 - ged, "sensitivity": 1.0, "dice_max": 1.0, "agreement": 1.0, "dice": 0.5, "spread": 0.1}
    frequency = {"met": met, "expected": [0.5, 0.5, 0.0, 0.0], "distance": abs(met[0] - 0.5)}
    record = {"case": name, "subject": name, "group": group, "frequency": frequency, "spread": 0.1, "seconds": 1.0}
    return record | {"metrics": {"drawn": figures, "empty": figures | {"ged": 1.0}}, "network_calls": 20.0}


def test_a_table_pools_frequencies_and_a_card_shows_them(tmp_path):
    cases = [
        case("a", 0.2, [0.2, 0.8, 0.0, 0.0]),
        case("b", 0.4, [0.8, 0.2, 0.0, 0.0]),
        case("c", 0.3, [1.0, 0.0, 0.0, 0.0], "faint"),
    ]
    result = SegmentationTable(Told(cases, tmp_path)).result()
    assert result["mean"]["drawn"]["ged"] == pytest.approx(0.3) and result["intervals"] == {}
    assert result["kinds"]["solid"]["distance"] == pytest.approx(0) and result["kinds"]["solid"][
        "distance_of_each"
    ] == pytest.approx(0.3)
    assert result["kinds"]["faint"]["distance"] == 0.5
    entry = {"what": "Test"} | compact(result, cases)
    tables = segmentation_rows({"test": entry}, {"methods": {"drawn": "draws", "empty": "nothing"}})
    assert all(len({len(row) for row in table}) == 1 for table in tables)
    assert tables[0][2][:4] == ["Test", "draws", "3 (3)", "0.300 (0.200, 0.400, 0.300)"]
    assert [row[1] for row in tables[1][2:]] == ["a", "b", "c"]
    many = SegmentationTable(Told([case(f"{k}", 0.1 * (k % 3), [0.5, 0.5, 0.0, 0.0]) for k in range(30)], tmp_path)).result()
    low, high = many["intervals"]["drawn"]["ged"]
    assert low < many["mean"]["drawn"]["ged"] < high
    assert list(compact(many, [])["people"]) == ["all"]


def test_levels_fall_to_nothing():
    assert all(a > b for a, b in pairwise(inferer().sigmas)) and inferer().sigmas[-1] == 0

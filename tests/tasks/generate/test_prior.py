"""Style codes of training scans: one kind for each contrast, scans taking turns, each scan read once; conditions of maps."""

import torch

from diffzoo.networks.spade import SpadeGenerator
from diffzoo.tasks.generate.dataset import TissueSlices
from diffzoo.tasks.generate.prior import condition_rows, style_codes

SIZE = (32, 40)


class Heads:
    """A loader of heads that are all of one shade, told by the name of the file."""

    def __init__(self):
        self.read = []

    def __call__(self, entry):
        self.read.append(entry["image"])
        maps = torch.zeros(5, *SIZE, 6)
        maps[3, 8:24, 8:32] = 1
        maps[0] = 1 - maps.sum(0)
        image = float(entry["image"]) * maps[3:4]
        told = {"image": image, "label": maps, "borrowed": torch.zeros(0, 5, *SIZE, 6), "position": torch.linspace(0, 1, 6)}
        return told | {"modality": entry.get("modality", "t1")}


def painter():
    torch.manual_seed(0)
    return SpadeGenerator(2, 5, 1, (8, 8), 4, 8, (4, 8)).eval()


def test_codes_by_contrast_of_scans_that_take_turns():
    entries = [{"image": "0.4"}, {"image": "0.9"}, {"image": "0.6", "modality": "flair"}, {"image": "0.4", "shown_as": "t2"}]
    found = style_codes(painter(), entries, Heads(), SIZE, count=4)
    assert set(found) == {"t1", "t2", "flair"} and all(codes.shape == (4, 4) for codes in found.values())
    first, second, third, _ = found["t1"]
    assert torch.allclose(first, third, atol=1e-2) and not torch.allclose(first, second, atol=1e-3)
    assert not torch.allclose(found["t2"][0], found["t2"][1], atol=1e-4)  # another simulated contrast each time
    assert set(style_codes(painter(), entries[:1], Heads(), SIZE, count=1)) == {"t1"}


def test_a_scan_that_is_shown_in_many_contrasts_is_read_once():
    load = Heads()
    entries = [{"image": "0.4", "weight": 0.5}, {"image": "0.4", "shown_as": "t2"}, {"image": "0.6"}]
    TissueSlices(entries, load, SIZE)
    assert load.read == ["0.4", "0.6"]


def test_conditions_are_those_of_maps_as_training_has_them():
    rows = condition_rows([{"image": "0.4"}], Heads(), SIZE, count=9)
    assert rows.shape == (9, 6) and rows.dtype == torch.float16 and not rows[:, 0].any()
    assert set(rows[:, 1].tolist()) <= set(torch.linspace(0, 1, 6).half().tolist())
    assert (rows[:, 4] > 0.3).all() and not rows[:, [2, 3, 5]].any()  # white matter and nothing else

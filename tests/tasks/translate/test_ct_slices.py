"""Training batches of CT alone: their edges are their own, nothing else is read, and a batch is a function of its number."""

import math

import pytest
import torch
from ct_toy import body, write

from diffzoo.errors import InputError
from diffzoo.imaging.edges import to_units
from diffzoo.imaging.guide import Guide, RandomGuide
from diffzoo.tasks.translate import ct_slices
from diffzoo.tasks.translate.ct_slices import CTSlices, part_of, real_slices, simulated

NONE: dict = {}


@pytest.fixture
def entry(tmp_path):
    return {"image": write(tmp_path / "person_ct.nii.gz")}


def small(entries, phantoms=NONE, **options):
    return CTSlices(entries, phantoms, **{"size": 32, "grid_mm": 3.0, "batch_size": 4, "batches": 3, **options})


def test_a_batch_is_its_number_alone(entry):
    first, second = small([entry]), small([entry])
    for key, channels in (("image", 1), ("concat", 2)):
        assert first[1][key].shape == (4, channels, 32, 32)
        torch.testing.assert_close(first[1][key], second[1][key], rtol=0, atol=0)
    second.epoch = 2
    assert not torch.equal(first[1]["image"], second[1]["image"])
    assert first[0]["image"].min() >= 0 and first[0]["image"].max() <= 1.5


def test_what_is_told_comes_from_the_image_itself(entry):
    made = small([entry], augment=False)[0]
    torch.testing.assert_close(made["concat"], Guide()(made["image"]))
    assert made["concat"][:, 0].amax() == 1 and made["concat"][:, 1].std() > 0.05
    edges_alone = small([entry], augment=False, guide=Guide(width=0.0))[0]
    torch.testing.assert_close(edges_alone["concat"][:, :1], made["concat"][:, :1])
    assert not edges_alone["concat"][:, 1].any()


def test_the_image_stays_clean_where_its_guide_is_disturbed(entry):
    clean, rough = (small([entry], disturb=RandomGuide(noise, 0.0, 0.0, 0.0))[0] for noise in (0.0, 200.0))
    torch.testing.assert_close(clean["image"], rough["image"], rtol=0, atol=0)
    assert float((clean["concat"] - rough["concat"])[:, 1].std()) > 0.1


def test_no_source_image_is_ever_read(entry, tmp_path, monkeypatch):
    source = write(tmp_path / "person_cbct.nii.gz", body() - 60)
    read, seen = ct_slices.read_ct, []
    monkeypatch.setattr(ct_slices, "read_ct", lambda path: seen.append(path) or read(path))
    small([entry])[0]
    assert seen == [entry["image"]]
    for wrong in (
        {"image": source},
        {"image": entry["image"], "cbct": source},
        {"image": source, "ct": entry["image"], "cbct": source},
    ):
        with pytest.raises(InputError, match="a source image in the training list"):
            small([entry, wrong])
    assert seen[1:] == [entry["image"]] * 3  # the entry before it, never the source


def test_what_is_drawn_follows_shares_and_weights(entry):
    made = CTSlices([{**entry, "weight": 3.0}, entry], {"chest": 1, "head": 1, "abdomen": 0}, 0.4, 32, 12.0)
    torch.testing.assert_close(made.weights, torch.tensor([0.45, 0.15, 0.2, 0.2]))
    torch.testing.assert_close(CTSlices([], {"chest": 1}, 0.4, 32, 12.0).weights, torch.tensor([1.0]))
    with pytest.raises(InputError, match="no training slices"):
        CTSlices([], {})


def test_slices_come_in_model_units_and_directions(entry):
    stack = real_slices({**entry, "slices": "1:4"}, 3.0)
    assert stack.shape == (3, 72, 64) and stack.dtype == torch.float16
    wanted = to_units(torch.from_numpy(body())).movedim(-1, 0)[1:4].flip(1, 2)  # stored LPS
    torch.testing.assert_close(stack.float(), wanted, atol=1e-3, rtol=0)


def test_phantoms_lie_as_scans_do():
    stack = simulated("chest", 2, 8.0, 0).float()
    assert stack.shape == (2, 50, 50) and 0.1 < float(stack.mean()) < 0.6 and not torch.equal(stack[0], stack[1])
    bone = (stack > 0.7).float().mean(0)
    assert bone[:, :25].sum() > bone[:, 25:].sum()  # the spine is behind, where the second axis begins


def test_a_part_has_square_pixels_wherever_it_lies():
    matrix = part_of((200, 100), 50, math.pi / 2, 1.0, 1.0, (0.2, -0.1))[0]
    across, down = matrix[:, :2].mT  # one half side of the part, in halves of the field: x is axis 1
    torch.testing.assert_close(across, torch.tensor([0.0, 50 / 200]), atol=1e-6, rtol=0)
    torch.testing.assert_close(down, torch.tensor([-50 / 100, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix[:, 2], torch.tensor([-0.1, 0.2]))
    mirrored = part_of((200, 100), 50, 0.0, 2.0, -1.0, (0, 0))[0]
    torch.testing.assert_close(mirrored[:, :2], torch.tensor([[1.0, 0.0], [0.0, -0.5]]))

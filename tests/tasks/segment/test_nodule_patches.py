"""Training batches of patches: readers as often as they should be, the same again, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import chisquare

from diffzoo.errors import InputError
from diffzoo.tasks.segment.patches import RatedPatches, turned


@pytest.fixture
def entry(tmp_path):
    """A picture with four readers, who mark squares of 2, 4, 6 pixels, and nothing."""
    Image.fromarray(np.random.default_rng(0).integers(0, 200, (64, 64), np.uint8)).save(tmp_path / "p.png")
    paths = []
    for k, side in enumerate((2, 4, 6, 0)):
        mask = np.zeros((64, 64), np.uint8)
        mask[32 - side // 2 : 32 + side // 2, 32 - side // 2 : 32 + side // 2] = 255
        Image.fromarray(mask).save(tmp_path / f"r{k}.png")
        paths.append(str(tmp_path / f"r{k}.png"))
    return {"image": str(tmp_path / "p.png"), "mask": paths}


def test_each_reader_is_drawn_as_often(entry):
    data = RatedPatches([entry], size=32, batch_size=400, batches=10, augment=False)
    sizes = torch.cat([(data[k]["image"] > 0).flatten(1).sum(1) for k in range(10)])
    counts = [int((sizes == n).sum()) for n in (4, 16, 36, 0)]
    assert sum(counts) == 4000 and chisquare(counts).pvalue > 0.01


def test_readers_of_a_phantom_follow_its_frequencies():
    data = RatedPatches([], phantoms=1, size=32, batch_size=2000, batches=1, augment=False)
    masks = (data[0]["image"] > 0).flatten(1)
    kinds, counts = torch.unique(masks.sum(1), return_counts=True)
    expected = sorted(f for f in data.frequencies[0].tolist() if f)
    assert len(kinds) == len(expected)
    assert sorted((counts / 2000).tolist()) == pytest.approx(expected, abs=0.04)


def test_a_batch_is_coded_and_the_same_on_every_run(entry):
    first, again = (RatedPatches([entry], phantoms=3, size=32, batch_size=6, batches=2, seed=4) for _ in range(2))
    assert torch.equal(first[1]["image"], again[1]["image"]) and torch.equal(first[1]["concat"], again[1]["concat"])
    assert not torch.equal(first[0]["concat"], first[1]["concat"])
    assert first[1]["image"].shape == first[1]["concat"].shape == (6, 1, 32, 32)
    assert set(first[1]["image"].unique().tolist()) == {-1.0, 1.0}
    assert first[1]["concat"].min() >= 0 and first[1]["concat"].max() <= 1


def test_image_and_mask_are_turned_alike():
    x = torch.zeros(8, 2, 60, 60)
    x[:, :, 20:28, 30:44] = 1.0
    pair = turned(x, 40, torch.Generator().manual_seed(0))
    assert pair.shape == (8, 2, 40, 40) and torch.equal(pair[:, 0], pair[:, 1])
    areas = pair[:, 0].flatten(1).sum(1)
    assert areas.min() > 60 and len({round(float(a)) for a in areas}) > 3  # whole, and of different sizes


def test_an_entry_without_a_mask_and_an_empty_list_are_told(entry):
    with pytest.raises(InputError, match="no mask beside it"):
        RatedPatches([{"image": entry["image"]}], size=32)
    with pytest.raises(InputError, match="nothing to learn from"):
        RatedPatches([], size=32)

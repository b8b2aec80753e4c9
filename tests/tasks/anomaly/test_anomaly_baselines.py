"""The trivial anomaly maps: brightness, and the distance to the mean head, also of slices cut out of a head."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from safetensors.torch import save_file

from diffzoo.errors import InputError
from diffzoo.tasks.anomaly.atlas import SHAPE, load_atlas, sample
from diffzoo.tasks.anomaly.baselines import AddAnomalyBaselines

AFFINE = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))


@pytest.fixture
def path(tmp_path):
    z = torch.linspace(0.2, 1.0, SHAPE[2]).expand(SHAPE)
    save_file({"t1": z.half().contiguous()}, tmp_path / "atlas.safetensors")
    return str(tmp_path / "atlas.safetensors")


@pytest.fixture
def head():
    brain = torch.zeros(1, 20, 22, 16, dtype=torch.bool)
    brain[:, 3:17, 4:19, 2:14] = True
    image = torch.rand(brain.shape, generator=torch.Generator().manual_seed(0)) * brain
    facts = {"modality": "t1", "slice_index": torch.arange(16)}
    return {"image": MetaTensor(image, affine=AFFINE), "brain": MetaTensor(brain, affine=AFFINE), **facts}


def test_maps_are_the_image_and_its_distance_to_the_mean(path, head):
    found = AddAnomalyBaselines(path)(head)
    image, brain = head["image"].as_tensor(), head["brain"].as_tensor()
    assert torch.equal(found["brightness"].as_tensor(), image)
    steps = torch.linspace(0.2, 1.0, 12)[None, None, None].expand(1, 14, 15, 12)
    expected = (image[:, 3:17, 4:19, 2:14] - steps).abs()
    inner = found["mean_distance"].as_tensor()[:, 3:17, 4:19, 2:14]
    assert torch.allclose(inner[..., 1:-1], expected[..., 1:-1], atol=0.03)
    assert not found["mean_distance"].as_tensor()[~brain].any() and float(inner.max()) > 0.5
    assert np.allclose(found["mean_distance"].affine, AFFINE) and "brightness" not in head


def test_slices_of_a_head_are_compared_with_the_mean_of_the_whole(path, head):
    whole = AddAnomalyBaselines(path)(head)
    rows = slice(8, 12)
    cut = {key: head[key][..., rows] for key in ("image", "brain", "slice_index")}
    part = AddAnomalyBaselines(path)(head | cut | {"whole_brain": head["brain"]})
    for key in ("brightness", "mean_distance"):
        assert torch.equal(part[key].as_tensor(), whole[key].as_tensor()[..., rows])
    alone = AddAnomalyBaselines(path)(head | cut)  # a box of its own: another mean
    assert not torch.allclose(alone["mean_distance"].as_tensor(), part["mean_distance"].as_tensor(), atol=0.05)


def test_a_contrast_without_a_mean_is_refused(path, head):
    with pytest.raises(InputError, match="not for flair"):
        AddAnomalyBaselines(path)(head | {"modality": "flair"})


def test_the_mean_is_that_of_the_atlas_file(path, head):
    mean = sample(load_atlas(path), "t1", head["brain"][0].numpy())
    found = AddAnomalyBaselines(path)(head | {"image": MetaTensor(torch.from_numpy(mean)[None], affine=AFFINE)})
    assert not found["mean_distance"].as_tensor().any()

"""A start from another network's weights: what matches is taken, wider tensors are filled with zeros."""

import pytest
import torch

from diffzoo.networks.label_tokens import conditions_of
from diffzoo.networks.matching import start_from
from diffzoo.networks.unet import UNet
from diffzoo.networks.weights import save_weights

SMALL = {"channels": (16, 16), "norm_num_groups": 8, "num_head_channels": 16}


def networks():
    torch.manual_seed(0)
    return UNet(**SMALL, vector_size=4), UNet(**SMALL, vector_size=6, token_size=3)


def test_a_new_condition_changes_nothing_at_first_in_what_was_taken(tmp_path):
    parent, child = networks()
    save_weights(parent, tmp_path / "parent.safetensors")
    assert start_from(child, tmp_path / "parent.safetensors") is child
    weight, taken = child.unet.class_embedding.weight, parent.unet.class_embedding.weight
    assert torch.equal(weight[:, :4], taken.half().float()) and not weight[:, 4:].any()
    assert torch.equal(child.unet.conv_in.conv.weight, parent.unet.conv_in.conv.weight.half().float())
    labels = torch.tensor([0, 1])
    vector = conditions_of(torch.rand(1, 4).expand(2, -1), labels)["vector"]
    embedded = child.unet.class_embedding(vector)
    assert torch.allclose(embedded[0], embedded[1])


def test_no_file_changes_nothing_and_a_stranger_is_refused(tmp_path):
    child = networks()[1]
    before = {k: v.clone() for k, v in child.state_dict().items()}
    start_from(child, None)
    assert all(torch.equal(before[k], v) for k, v in child.state_dict().items())
    save_weights(torch.nn.Linear(2, 2), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds 0 of"):
        start_from(child, tmp_path / "other.safetensors")

"""Labels as conditions: tokens that a place can choose between, and a null that says nothing."""

import pytest
import torch

from diffzoo.networks.label_tokens import DISEASED, HEALTHY, NULL, WEIGHT, conditions_of, label_tokens, one_hot_label
from diffzoo.networks.unet import UNet

LABELS = torch.tensor([HEALTHY, DISEASED, NULL])


def test_each_label_has_its_place_and_null_has_none():
    assert torch.equal(one_hot_label(LABELS), torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    tokens = label_tokens(LABELS)
    assert tokens.shape == (3, 2, 3) and torch.equal(tokens[:, 0], torch.tensor([[1.0, 0, 0]] * 3))
    assert torch.equal(tokens[:, 1], torch.tensor([[0, 1.0, 0], [0, 0, 1], [0, 0, 0]]))
    with pytest.raises(ValueError, match="labels are"):
        one_hot_label(torch.tensor([2]))


def test_conditions_keep_what_is_known_of_the_slice():
    vector = torch.rand(3, 4, dtype=torch.float64)
    made = conditions_of(vector, LABELS)
    assert torch.equal(made["vector"][:, :4], vector) and torch.equal(
        made["vector"][:, 4:], WEIGHT * one_hot_label(LABELS).double()
    )
    assert made["tokens"].dtype == torch.float64


def test_a_network_listens_to_tokens_by_attention_alone():
    """Where attention puts its weight depends on the place: the label changes two places by different amounts."""
    torch.manual_seed(0)
    network = UNet(channels=(16, 32), attention_levels=(False, True), norm_num_groups=8, num_head_channels=8, token_size=3)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.2)
    x, c_noise = torch.randn(1, 1, 8, 8), torch.zeros(1)
    healthy, diseased = (network(x, c_noise, tokens=label_tokens(torch.tensor([k]))) for k in (HEALTHY, DISEASED))
    change = (healthy - diseased).abs()
    assert change.min() >= 0 and change.max() > 2 * change.median() > 0

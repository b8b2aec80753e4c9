"""The latents of the shipped autoencoders: each channel carries something, so none is diffused for nothing."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from diffzoo.imaging.phantoms.volumes import sample
from diffzoo.zoo.bundle import find
from diffzoo.zoo.session import parse


def labels():
    """Slices of a simulated head as tissue shares [12, 5, 64, 80]."""
    volume = torch.as_tensor(sample("labels", (64, 80, 12), np.diag([2.5, 2.5, 10, 1]), 0)).long()
    return one_hot(volume.movedim(-1, 0), 5).movedim(-1, 1).float()


def head():
    """Slices of a simulated head in [0, 1], [12, 1, 96, 112]."""
    volume = torch.as_tensor(sample("head", (96, 112, 12), np.diag([2.0, 2.0, 10, 1]), 0)).float()
    return volume.movedim(-1, 0)[:, None] / volume.max()


@pytest.mark.parametrize(("name", "images"), [("brainspade", labels), ("cola_diff", head)])
def test_no_channel_is_dead(name, images):
    """Spread of the posterior means over sites, in units in which the whole posterior has a spread of 1 on training data."""
    network = parse(find(name), ["inference"], {}).get_parsed_content("network")
    with torch.no_grad():
        spread = network.space.encode(images()).transpose(0, 1).flatten(1).std(1)
    assert spread.min() > 0.25 and spread.min() > 0.5 * spread.max()


def test_a_channel_that_says_nothing_would_be_seen():
    """A channel whose mean is 0 everywhere, as a collapsed posterior has it, has no spread at all."""
    network = parse(find("brainspade"), ["inference"], {}).get_parsed_content("network")
    network.autoencoder.autoencoder.quant_conv_mu.conv.weight.data[3] = 0
    with torch.no_grad():
        spread = network.space.encode(labels()).transpose(0, 1).flatten(1).std(1)
    assert spread[3] < 0.01 and spread[[0, 1, 2, 4, 5, 6, 7]].min() > 0.25

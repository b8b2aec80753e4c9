"""Figures of CoLa-Diff's checks on images whose answer is known."""

import sys

import numpy as np
import pytest

from diffzoo.networks.cola import ColaUNet
from diffzoo.zoo.bundle import CHECKOUT

sys.path.insert(0, str(CHECKOUT.parent / "tools"))
import measure_cola_diff as measure


def test_the_contrast_of_a_lesion_is_to_the_tissue_around_it():
    lesion, inside = np.zeros((24, 24, 3), bool), np.ones((24, 24, 3), bool)
    lesion[10:14, 10:14] = True
    image = np.where(lesion, 1.5, 1.0)
    image[:4] = 9.0  # far from it
    assert measure.contrast(image, lesion, inside) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="voxels of lesion"):
        measure.contrast(image, np.zeros_like(lesion), inside)


def test_activations_grow_with_the_area():
    network = ColaUNet(channels=(32, 32), attention_levels=(False, False), latent_channels=2, roles=2)
    ratio = measure.activations(network, (32, 32)) / measure.activations(network, (16, 16))
    assert ratio == pytest.approx(4, rel=0.02)


def test_the_factor_of_a_source_is_taken_where_it_is_given():
    """Factors by hand: 1 + its number where a source is given, 9 where it is not and should not count."""
    import torch

    class Network:
        roles = 2

        def factors(self, concat):
            return concat.amax((2, 3))

    given = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    factors = torch.where(given > 0, torch.tensor([1.0, 2.0]), 9.0)
    batch = {
        "vector": torch.cat([given, torch.zeros(3, 3)], 1),
        "concat": torch.cat([factors, factors[:, :1]], 1)[..., None, None],
    }
    assert measure.source_factors(Network(), [batch, batch]).tolist() == [1.0, 2.0]

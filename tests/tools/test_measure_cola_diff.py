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

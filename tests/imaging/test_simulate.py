"""The simulated acquisition: sensitivities, phase, noise and conventions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.imaging.simulate import birdcage_maps, phase_map, simulate_kspace
from diffzoo.operators.fourier import ifft_centred


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 16), st.integers(1, 40), st.integers(1, 40))
def test_maps_are_normalised_and_finite(coils, height, width):
    maps = birdcage_maps(coils, (height, width))
    assert maps.shape == (coils, height, width)
    assert maps.dtype == torch.complex64
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(height, width), atol=1e-5)


def test_maps_turn_with_the_coil_and_are_smooth():
    maps = birdcage_maps(4, (64, 64))
    # coil 1 is coil 0 turned by 90 degrees: x + i y -> i (x + i y), which is a transpose and a flip of the grid
    turned = maps[0].mT.flip(1).abs()
    assert torch.allclose(maps[1].abs(), turned, atol=1e-5)
    assert float(maps[0].abs()[32, -1]) > 0.8  # coil 0 sits at +x
    assert float(maps[0].abs()[32, 0]) < 0.3
    for axis in (1, 2):
        assert float(maps.diff(dim=axis).abs().max()) < 0.15


def test_coils_differ_in_phase():
    phase = birdcage_maps(8, (32, 32)).angle()
    assert float((phase[0] - phase[3]).std()) > 0.1


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.floats(0, 3), st.integers(0, 99))
def test_phase_has_unit_modulus(shape, strength, seed):
    phase = phase_map(shape, seeded(seed), strength)
    assert list(phase.shape) == shape
    assert torch.allclose(phase.abs(), torch.ones(shape), atol=1e-5)
    assert torch.equal(phase, phase_map(shape, seeded(seed), strength))


def test_phase_spread_is_the_strength_and_smooth():
    phase = phase_map((64, 64), seeded(1), 0.3)
    assert float(phase.angle().std()) == pytest.approx(0.3, rel=0.05)
    assert float(phase.diff(dim=0).abs().max()) < 0.1


def test_noise_free_kspace_gives_the_image_back():
    image = torch.rand(3, 21, 16, generator=seeded(0))
    for given_image in (image, image.numpy(), image.numpy().astype(np.float64)):
        kspace = simulate_kspace(given_image, 5, 0.0, seeded(1))
        assert kspace.shape == (3, 5, 21, 16)
        assert kspace.dtype == torch.complex64
        assert torch.allclose(ifft_centred(kspace).abs().square().sum(1).sqrt(), image, atol=1e-5)


def test_phase_strength_reaches_the_image():
    image = torch.ones(1, 32, 32)
    for strength in (0.0, 0.4):
        image_phase = ifft_centred(simulate_kspace(image, 1, 0.0, seeded(2), strength))[0, 0] / birdcage_maps(1, (32, 32))[0]
        assert float(image_phase.angle().std()) == pytest.approx(strength, abs=0.02)


def test_noise_has_its_stated_spread_in_kspace_and_image():
    image = torch.zeros(2, 64, 64)
    kspace = simulate_kspace(image, 3, 0.2, seeded(4))
    for data in (kspace, ifft_centred(kspace)):
        assert float(data.real.std()) == pytest.approx(0.2, rel=0.03)
        assert float(data.imag.std()) == pytest.approx(0.2, rel=0.03)
    assert torch.equal(kspace, simulate_kspace(image, 3, 0.2, seeded(4)))
    assert not torch.equal(kspace, simulate_kspace(image, 3, 0.2, seeded(5)))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"\[D, H, W\]"):
        simulate_kspace(torch.ones(8, 8), 2, 0.0, seeded(0))
    with pytest.raises(ValueError, match="noise_sd"):
        simulate_kspace(torch.ones(1, 8, 8), 2, -1.0, seeded(0))
    with pytest.raises(ValueError, match="at least one coil"):
        birdcage_maps(0, (8, 8))
    with pytest.raises(ValueError, match="radius"):
        birdcage_maps(2, (8, 8), radius=1.0)

"""How noisy an image is: told from the image alone, for Gaussian and Rician noise, and what the latter adds to the mean."""

import pytest
import torch

from diffzoo.errors import InputError
from diffzoo.imaging.noise_level import noise_level, rician_mean, rician_signal


def anatomy(size: int = 128, count: int = 6) -> torch.Tensor:
    """Smooth slices [D, H, W] of about 0.3 to 1 within a disc, 0 around it."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    inside = torch.sigmoid((0.8 - x**2 - y**2) * 15)
    waves = [0.65 + 0.35 * torch.sin(3 * x + k) * torch.cos(4 * y - k) for k in range(count)]
    return torch.stack(waves) * inside


def magnitude(signal: torch.Tensor, sd: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    real, imaginary = sd * torch.randn((2, *signal.shape), generator=generator)
    return torch.hypot(signal + real, imaginary)


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.1, 0.15])
def test_the_noise_of_an_image_is_told_within_a_tenth(sd):
    generator = torch.Generator().manual_seed(0)
    gaussian = anatomy() + sd * torch.randn(anatomy().shape, generator=generator)
    assert noise_level(gaussian) == pytest.approx(sd, rel=0.1)
    assert noise_level(magnitude(anatomy(), sd)) == pytest.approx(sd, rel=0.15)


def test_the_noise_scales_with_the_image():
    image = magnitude(anatomy(), 0.05)
    assert noise_level(1000 * image) == pytest.approx(1000 * noise_level(image), rel=1e-3)


def test_too_little_signal_is_refused():
    with pytest.raises(InputError, match="too little of the image has signal"):
        noise_level(torch.zeros(2, 20, 20))


def test_the_mean_of_a_magnitude_is_that_of_many_draws():
    for signal in (0.0, 0.5, 1.0, 3.0):
        drawn = magnitude(torch.full((200_000,), signal), 1.0)
        assert float(rician_mean(torch.tensor(signal), 1.0)) == pytest.approx(float(drawn.mean()), abs=0.01)


def test_the_signal_is_the_inverse_of_the_mean_and_nothing_for_noise_alone():
    signal = torch.tensor([0.0, 0.3, 1.0, 2.0, 5.0, 11.0, 40.0]) * 0.05
    torch.testing.assert_close(rician_signal(rician_mean(signal.double(), 0.05), 0.05), signal.double(), rtol=1e-3, atol=2e-4)
    assert float(rician_signal(torch.tensor([0.02]), 0.05)) == 0.0

"""Bilateral filter, Sobel filter and edge map against plain references, and what the map promises."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from diffzoo.imaging.edges import EdgeMap, bilateral, eight_bit, sobel, to_hu, to_units


def picture(height: int = 20, width: int = 23, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    image = 60 + 90 * ((x - 9) ** 2 + (y - 11) ** 2 < 36) + 40 * (y > 16) + rng.normal(0, 6, (height, width))
    return image.clip(0, 255).round()


def plain_bilateral(image: np.ndarray, colour: float, space: float, radius: int) -> np.ndarray:
    """Pixel by pixel, as the formula is written."""
    wide = np.pad(image, radius, mode="reflect")
    out = np.zeros_like(image)
    for i, j in np.ndindex(image.shape):
        total = weight = 0.0
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if dy**2 + dx**2 > radius**2:
                    continue
                other = wide[i + radius + dy, j + radius + dx]
                w = np.exp(-(dy**2 + dx**2) / (2 * space**2) - (other - image[i, j]) ** 2 / (2 * colour**2))
                total, weight = total + w * other, weight + w
        out[i, j] = total / weight
    return out


def test_the_bilateral_filter_is_its_formula():
    images = [picture(seed=k) for k in range(2)]
    found = bilateral(torch.tensor(np.stack(images))[:, None], torch.tensor([9.0, 25.0]), torch.tensor([9.0, 2.0]), 4)
    for image, one, (colour, space) in zip(images, found, ((9, 9), (25, 2)), strict=True):
        np.testing.assert_allclose(one[0].numpy(), plain_bilateral(image, colour, space, 4), atol=1e-9)


def test_a_bilateral_filter_blind_to_values_is_a_gaussian_one():
    image, (y, x) = picture(), np.mgrid[-4:5, -4:5]
    kernel = np.exp(-(x**2 + y**2) / (2 * 1.5**2)) * (x**2 + y**2 <= 16)
    found = bilateral(torch.tensor(image)[None, None], torch.tensor([1e9]), torch.tensor([1.5]), 4)[0, 0].numpy()
    np.testing.assert_allclose(found, ndimage.convolve(image, kernel / kernel.sum(), mode="mirror"), atol=1e-9)


def test_the_bilateral_filter_keeps_a_step_and_smooths_noise():
    image = picture()
    found = bilateral(torch.tensor(image)[None, None], torch.tensor([30.0]), torch.tensor([9.0]), 4)[0, 0].numpy()
    assert found[:, :3].std() < 0.4 * image[:, :3].std()
    assert found[9, 11] - found[9, 2] > 70
    with pytest.raises(ValueError, match="radius 4"):
        bilateral(torch.zeros(1, 1, 4, 9), torch.ones(1), torch.ones(1))


def test_the_sobel_filter_is_that_of_scipy():
    image = picture()
    for axis, part in enumerate(sobel(torch.tensor(image)[None, None])):
        np.testing.assert_allclose(part[0, 0].numpy(), ndimage.sobel(image, axis=axis, mode="mirror"), atol=1e-9)


def test_the_edge_map_is_the_chain_of_the_card():
    x = to_units(torch.tensor(picture() / 255 * 2000 - 1000)[None, None])
    eight = eight_bit(x)[0, 0].numpy()
    np.testing.assert_array_equal(eight, picture())
    smooth = plain_bilateral(eight, 9, 9, 4).round()
    parts = [np.abs(ndimage.sobel(smooth, axis=k, mode="mirror")).clip(max=255) for k in (0, 1)]
    wanted = np.round((parts[0] + parts[1]) / 2)
    wanted[wanted < 5] = 0
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    np.testing.assert_allclose(EdgeMap()(x)[0, 0].numpy(), wanted, atol=1e-6)


def test_the_edge_map_of_each_image_is_its_own_and_that_of_air_is_empty():
    x = torch.cat(
        [to_units(torch.tensor(picture(seed=k) * 8 - 1000)[None, None]) for k in range(2)] + [torch.zeros(1, 1, 20, 23)]
    )
    found = EdgeMap()(x)
    torch.testing.assert_close(found[1:2], EdgeMap()(x[1:2]))
    assert found[:2].amax((1, 2, 3)).allclose(torch.ones(2, dtype=found.dtype)) and found[2].eq(0).all()
    assert EdgeMap(threshold=30.0)(x[:1]).count_nonzero() < found[:1].count_nonzero()


def test_units_and_window():
    hu = torch.tensor([-1100.0, -1000.0, 0.0, 1000.0, 2500.0])
    torch.testing.assert_close(to_units(hu), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.5]))
    torch.testing.assert_close(to_hu(to_units(hu)), torch.tensor([-1000.0, -1000.0, 0.0, 1000.0, 2000.0]))
    assert eight_bit(to_units(hu), (-1000.0, 1000.0)).tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(ValueError, match="rising window"):
        EdgeMap(window=(100.0, 100.0))

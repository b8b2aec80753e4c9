"""Regions of like intensity: what is clearly apart is found, dark first, and nothing lies outside the mask."""

import torch

from diffzoo.imaging.intensity_regions import intensity_regions


def test_three_levels_with_noise_are_found_dark_to_bright():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (2, 1, 24, 20), generator=generator)
    image = torch.tensor([0.2, 0.6, 1.0])[labels] + 0.03 * torch.randn(labels.shape, generator=generator)
    mask = torch.zeros_like(image)
    mask[..., 4:20, 3:17] = 1
    found = intensity_regions(image, mask)
    assert torch.equal(found.sum(1, keepdim=True), mask)
    assert torch.equal(found.argmax(1, keepdim=True)[mask > 0], labels[mask > 0])


def test_an_empty_mask_and_a_constant_image_give_no_error():
    image = torch.full((2, 1, 8, 8), 0.4)
    assert not intensity_regions(image, torch.zeros_like(image)).any()
    assert torch.equal(intensity_regions(image, torch.ones_like(image)).sum(1), torch.ones(2, 8, 8))

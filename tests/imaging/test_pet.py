"""PET of a head: uptake, point spread, counts, the noise that they leave, and where the brain is."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.paired_heads import CLASSES, CSF, GREY, WHITE
from diffzoo.imaging.pet import FWHM, activity, blob, counted, filter_gain, noise_amount, pet_brain, scanned, uptake_level
from diffzoo.imaging.phantoms.volumes import sample

AFFINE = np.diag([4.0, 4.0, 6.0, 1.0]) @ np.block([[np.eye(3), -np.array([[22], [26], [13]])], [np.zeros((1, 3)), 1]])
SHAPE = (45, 53, 27)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tissues(*labels: int) -> torch.Tensor:
    maps = torch.zeros(len(labels), len(CLASSES), 24, 24)
    for k, label in enumerate(labels):
        maps[k, label] = 1
    return maps


def test_grey_matter_takes_up_most_and_fluid_least_of_the_brain():
    uptake = activity(tissues(GREY, WHITE, CSF), generator()).mean((1, 2, 3))
    assert uptake[0] == pytest.approx(1, abs=0.35) and 0.15 < uptake[1] < 0.45 and uptake[2] < 0.1
    again, other = (activity(tissues(GREY), generator(seed)) for seed in (3, 4))
    assert torch.equal(again, activity(tissues(GREY), generator(3))) and not torch.equal(again, other)


def test_a_point_spread_has_its_full_width_at_half_maximum():
    spot = torch.zeros(1, 1, 65, 65)
    spot[..., 32, 32] = 1
    line = scanned(spot, 6.0)[0, 0, 32]
    assert float(line[32 + 3] / line[32]) == pytest.approx(0.5, abs=0.01)
    assert float(scanned(spot, 6.0).sum()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("width", [0.0, 2.0])
def test_counts_have_the_mean_of_the_image_and_the_noise_of_the_filter(width):
    image = torch.full((2, 1, 200, 200), 0.5)
    found = counted(image, 10.0, width, generator())
    assert float(found.mean()) == pytest.approx(0.5, rel=0.01)
    inner = found[..., 10:-10, 10:-10]
    assert float(inner.std()) == pytest.approx((0.5 / 10) ** 0.5 * filter_gain(width), rel=0.03)


def test_the_gain_of_a_filter_is_that_of_a_gaussian():
    sigma = 3.0 / FWHM
    assert filter_gain(0.0) == 1 and filter_gain(3.0) == pytest.approx(1 / (2 * sigma * np.pi**0.5), rel=0.03)


@pytest.mark.parametrize("counts", [3.0, 10.0, 30.0])
def test_noise_is_told_from_the_image(counts):
    rough = torch.randn(6, 1, 128, 128, generator=generator(1))
    truth = (1 + 0.5 * scanned(rough, 12.0) * 12).clamp(0.3)
    image = counted(truth, counts, 2.0, generator(2))
    told = noise_amount(image[:, 0], torch.ones(6, 128, 128), 2.0)
    assert told == pytest.approx(counts**-0.5 * filter_gain(2.0), rel=0.1)


def test_an_empty_mask_tells_no_noise():
    with pytest.raises(InputError, match="give its noise with --set noise_amount"):
        noise_amount(torch.ones(1, 16, 16), torch.zeros(1, 16, 16), 2.0)


def test_the_brain_is_found_in_a_noisy_pet_and_its_level_does_not_depend_on_the_unit():
    pet, sizes = sample("pet", SHAPE, AFFINE, 0), (4.0, 4.0, 6.0)
    truth = sample("labels", SHAPE, AFFINE, 0) > 0
    inside = pet_brain(pet, sizes)
    assert (inside & truth).sum() > 0.98 * truth.sum()
    grown = ndimage.binary_dilation(truth, np.ones((9, 9, 5)))
    assert not (inside & ~grown).any()
    assert np.array_equal(pet_brain(7.5 * pet, sizes), inside)
    assert uptake_level(7.5 * pet, inside, sizes) == pytest.approx(7.5 * uptake_level(pet, inside, sizes))


def test_what_is_no_head_is_refused():
    pet = sample("pet", SHAPE, AFFINE, 0)
    with pytest.raises(InputError, match=r"litres: this is no PET of a head, or its voxel size is wrong"):
        pet_brain(pet, (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="holds no uptake"):
        pet_brain(np.zeros(SHAPE, np.float32), (4.0, 4.0, 6.0))


def test_a_blob_is_one_within_its_radius():
    spot = blob((21, 21), (10, 10), 4.0)
    assert spot[10, 10] == 1 and spot[10, 13] == 1 and spot[10, 16] == 0 and 0 < float(spot[10, 14]) < 1

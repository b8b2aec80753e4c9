"""CT numbers, photon counts, and the first image of a limited arc."""

import math

import pytest
import torch
from anatomy import anatomy

from diffzoo.imaging.tomography import WATER, attenuation_of, count_photons, first_image, hu_of
from diffzoo.operators.backprojection import fbp
from diffzoo.operators.base import Scaled, spectral_norm
from diffzoo.operators.beams import ParallelBeam, arc, covering
from diffzoo.operators.radon import Radon
from diffzoo.tasks.reconstruction.baselines import total_variation


def test_air_is_0_and_water_is_1_and_the_window_is_kept():
    hu = torch.tensor([-3024.0, -1000.0, 0.0, 1500.0, 2000.0, 3071.0])
    assert attenuation_of(hu).tolist() == [0.0, 0.0, 1.0, 2.5, 3.0, 3.0]
    torch.testing.assert_close(hu_of(attenuation_of(hu)), hu.clamp(-1000, 2000))


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(count)]


@pytest.mark.parametrize("dose", [1e4, 1e6])
def test_counted_photons_have_the_mean_and_the_variance_of_poisson(dose):
    """-ln(N / dose) of N ~ Poisson(m) has a variance of about 1 / m."""
    mm = 150.0
    measured = WATER * count_photons(torch.full((1, 1, 400, 400), mm), dose, generators(1))
    expected = 1 / (dose * math.exp(-WATER * mm))
    assert float(measured.mean()) == pytest.approx(WATER * mm, abs=4 * expected + 4 * math.sqrt(expected) / 400)
    assert float(measured.var()) == pytest.approx(expected, rel=0.03)


def test_photons_of_an_item_follow_its_own_generator_and_never_run_out():
    y = torch.full((2, 1, 8, 8), 100.0)
    both, second = count_photons(y, 1e5, generators(2)), count_photons(y[1:], 1e5, generators(1, seed=1))
    assert torch.equal(both[1:], second) and not torch.equal(both[0], both[1])
    assert torch.isfinite(count_photons(y * 100, 10.0, generators(2))).all()
    with pytest.raises(ValueError, match="positive number of photons"):
        count_photons(y, 0.0, generators(2))


def test_the_first_image_is_nearer_to_data_and_truth_than_filtered_backprojection():
    truth = attenuation_of(torch.from_numpy(1.4 * anatomy((48, 40, 2)) - 1000)).permute(2, 0, 1)[:, None]
    op = Radon(ParallelBeam(arc(90, 60), *covering((48, 40))), (48, 40))
    y = op.A(truth)
    first, plain = first_image(op, y), fbp(op, y).clamp(0, 3)
    assert first.min() >= 0 and first.max() <= 3
    assert (op.A(first) - y).norm() < 0.5 * (op.A(plain) - y).norm()
    assert (first - truth).norm() < 0.8 * (plain - truth).norm()


def test_views_that_are_not_measured_play_no_part():
    truth = attenuation_of(torch.from_numpy(1.4 * anatomy((32, 32, 1)) - 1000)).permute(2, 0, 1)[:, None]
    full = Radon(ParallelBeam(arc(120, 60), *covering((32, 32))), (32, 32))
    part = Radon(ParallelBeam(arc(60, 30), *covering((32, 32))), (32, 32))
    measured = (torch.arange(60) < 30).float().reshape(1, 1, -1, 1)
    y = full.A(truth)
    noisy = torch.where(measured > 0, y, 1e3)  # whatever stands there
    torch.testing.assert_close(first_image(full, noisy, measured), first_image(part, y[:, :, :30]), rtol=1e-3, atol=1e-3)


def test_the_first_image_approaches_total_variation():
    """Thirty filtered steps do what hundreds of plain ones do."""
    truth = attenuation_of(torch.from_numpy(1.4 * anatomy((48, 48, 1)) - 1000)).permute(2, 0, 1)[:, None]
    op = Radon(ParallelBeam(arc(90, 90), *covering((48, 48))), (48, 48))
    y, scale = op.A(truth), 1 / spectral_norm(op, (1, 48, 48))
    slow = total_variation(Scaled(op, scale), scale * y, 0.001, iterations=300, inner=5)
    errors = [float((x - truth).norm()) for x in (first_image(op, y), slow, first_image(op, y, steps=3))]
    assert errors[0] < 1.25 * errors[1] < errors[2]

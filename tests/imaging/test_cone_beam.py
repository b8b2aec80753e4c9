"""What makes a simulated cone-beam CT: cupping from scatter, noise by the photons, streaks by the views; and another contrast."""

import math

import pytest
import torch

from diffzoo.errors import InputError
from diffzoo.imaging.cone_beam import ConeBeam, OtherWindow, scanner, scattered, source_named
from diffzoo.imaging.tomography import WATER

QUIET = {"scatter": 0.0, "photons": 1e9, "views": 240}


def water(size: int = 64, pixel: float = 5.0, count: int = 1) -> torch.Tensor:
    """Discs of water, 240 mm across, in air, HU [count, 1, size, size]."""
    axis = (torch.arange(size) - (size - 1) / 2) * pixel
    inside = torch.hypot(axis[:, None], axis) < 120
    return torch.where(inside, 0.0, -1000.0).expand(count, 1, size, size).clone()


def disc(radius: float, low: float = 0.0, size: int = 64, pixel: float = 5.0) -> torch.Tensor:
    axis = (torch.arange(size) - (size - 1) / 2) * pixel
    far = torch.hypot(axis[:, None], axis)
    return (far < radius) & (far >= low)


def simulate(hu: torch.Tensor, index=(0,), **options) -> torch.Tensor:
    return ConeBeam(**{**QUIET, **options})(hu, (5.0, 5.0), index)


def test_without_faults_the_slice_comes_back():
    found = simulate(water())[0, 0]
    assert abs(float(found[disc(90)].mean())) < 8 and float(found[disc(90)].std()) < 15
    assert float(found[disc(155, 135)].mean()) < -985


def test_scatter_makes_the_middle_darker_than_the_rim():
    clean, found = (simulate(water(), scatter=s)[0, 0] for s in (0.0, 0.03))
    lost = clean - found
    middle, rim = float(lost[disc(30)].mean()), float(lost[disc(110, 90)].mean())
    assert middle > rim + 15 and rim > 0
    twice = clean - simulate(water(), scatter=0.06)[0, 0]
    assert middle < float(twice[disc(30)].mean()) < 2 * middle  # a logarithm


def test_scatter_of_one_ray_is_a_gaussian_with_the_weight_of_what_it_lost():
    primary = torch.ones(1, 1, 1, 201)
    primary[..., 100] = math.exp(-2)
    found = scattered(primary, 10.0)[0, 0, 0]
    assert float(found.sum()) == pytest.approx(2 * math.exp(-2), rel=1e-5)
    assert float(found[110] / found[100]) == pytest.approx(math.exp(-0.5), rel=1e-5)


def test_noise_falls_with_the_square_root_of_the_photons():
    hu, inner = water(), disc(60)
    few, many = (float((simulate(hu, photons=p) - simulate(hu))[0, 0][inner].std()) for p in (2e4, 3.2e5))
    assert 3 < few / many < 5


def test_line_integrals_are_kept_where_nothing_is_added():
    op = scanner((32, 32), (10.0, 10.0), 16)
    y = op.A(torch.ones(1, 1, 32, 32))
    found = ConeBeam(scatter=0.0, photons=1e12).measured(y, 10.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, y, atol=5e-3 / WATER, rtol=0)
    assert op.field_of_view.all()


def test_few_views_draw_streaks_from_bone():
    hu = water()
    hu[..., 20:23, 30:34] = 1500.0
    away = disc(100) & (torch.arange(64) > 32)[:, None]
    clean, few = (float(simulate(hu, views=views)[0, 0][away].std()) for views in (240, 24))
    assert few > 10 * clean


def test_a_slice_depends_on_seed_and_number_alone():
    hu = water(count=6)
    found = ConeBeam(seed=1)(hu, (5.0, 5.0), range(10, 16))
    alone = ConeBeam(seed=1)(hu[:1], (5.0, 5.0), [14])
    torch.testing.assert_close(found[4:5], alone, atol=0, rtol=0)
    assert float((found[0] - found[1]).abs().mean()) > 5
    assert float((ConeBeam(seed=2)(hu[:1], (5.0, 5.0), [14]) - alone).abs().mean()) > 5


def test_calibration_is_linear():
    hu = water()
    inner = disc(100)
    torch.testing.assert_close(
        simulate(hu, gain=0.9, shift=20.0)[0, 0][inner], 0.9 * simulate(hu)[0, 0][inner] + 20, atol=1e-2, rtol=0
    )


def test_another_window_keeps_its_ends_and_bends_between():
    hu = torch.tensor([-1000.0, 0.0, 1000.0, 1800.0]).view(4, 1, 1, 1)
    found = OtherWindow(gamma=0.5)(hu, (1.0, 1.0), range(4)).flatten()
    torch.testing.assert_close(found, torch.tensor([-1000.0, -1000 + 2000 * math.sqrt(0.5), 1000.0, 1000.0]))


def test_a_source_is_named():
    assert source_named("cone_beam", scatter=0.1, views=60, seed=3) == ConeBeam(scatter=0.1, views=60, seed=3)
    assert source_named("window", gamma=0.7) == OtherWindow(gamma=0.7)
    with pytest.raises(InputError, match="choose cone_beam or window"):
        source_named("mr")


@pytest.mark.parametrize("wrong", [{"photons": 0}, {"views": 4}, {"scatter": -1}])
def test_what_is_no_cone_beam_is_refused(wrong):
    with pytest.raises(ValueError, match="a cone beam needs"):
        ConeBeam(**wrong)
    with pytest.raises(ValueError, match="a window needs"):
        OtherWindow(low=0.0, high=0.0)

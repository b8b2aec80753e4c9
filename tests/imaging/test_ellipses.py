"""Ellipse phantoms: area and place of their image, and chords, mass and symmetry of their sinogram."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.imaging.ellipses import Ellipse, disc, ellipse_image, ellipse_sinogram, shepp_logan
from diffzoo.operators.beams import FanBeam, ParallelBeam, arc

coordinate = st.floats(-8, 8)
half_axis = st.floats(3, 9)
ellipses = st.builds(
    Ellipse, st.floats(0.1, 2), st.tuples(coordinate, coordinate), st.tuples(half_axis, half_axis), st.floats(-3, 3)
)


@settings(deadline=None, max_examples=30)
@given(ellipses, st.tuples(st.floats(0.6, 1.5), st.floats(0.6, 1.5)))
def test_an_image_has_the_ellipse_s_mass_and_centre(ellipse, pixel):
    shape = tuple(round(40 / side) for side in pixel)
    image = ellipse_image([ellipse], shape, pixel)[0, 0].double()
    mass = ellipse.value * math.pi * ellipse.axes[0] * ellipse.axes[1]
    cell = pixel[0] * pixel[1]
    assert float(image.sum()) * cell == pytest.approx(mass, rel=3e-3)
    for axis, n in enumerate(shape):
        at = (torch.arange(n) - (n - 1) / 2) * pixel[axis]
        assert float((image.sum(1 - axis) * at).sum() / image.sum()) == pytest.approx(ellipse.centre[axis], abs=0.05)


@settings(deadline=None, max_examples=30)
@given(ellipses, st.floats(0, 3))
def test_a_parallel_view_has_the_ellipse_s_mass_and_centre(ellipse, angle):
    beam = ParallelBeam((angle,), 400, 0.1)
    view = ellipse_sinogram([ellipse], beam)[0, 0, 0].double()
    mass = ellipse.value * math.pi * ellipse.axes[0] * ellipse.axes[1]
    assert float(view.sum()) * 0.1 == pytest.approx(mass, rel=3e-3)
    at = (torch.arange(400) - 199.5) * 0.1
    place = ellipse.centre[0] * math.cos(angle) + ellipse.centre[1] * math.sin(angle)
    assert float((view * at).sum() / view.sum()) == pytest.approx(place, abs=0.02)


def test_a_turned_ellipse_lies_along_its_first_half_axis():
    image = ellipse_image([Ellipse(1.0, (0, 0), (12, 3), math.radians(30))], (41, 41))[0, 0]
    x, y = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    assert float((image * x * y).sum()) > 0
    main = 0.5 * math.atan2(2 * float((image * x * y).sum()), float((image * (x**2 - y**2)).sum()))
    assert math.degrees(main) == pytest.approx(30, abs=0.5)


def test_a_fan_sees_the_chord_of_a_disc_from_the_source():
    beam = FanBeam(arc(360, 7), 41, 2.0, 60.0, 40.0)
    u = (torch.arange(41) - 20) * 2.0
    distance = 60 * u / torch.hypot(u, torch.tensor(100.0))  # of the ray from the centre
    chord = 2 * (15**2 - distance**2).clamp(min=0).sqrt()
    found = ellipse_sinogram([disc(0.5, 15)], beam)[0, 0]
    assert torch.allclose(found, (0.5 * chord).expand(7, 41), atol=1e-4)


def test_a_bin_averages_over_its_width():
    wide, narrow = ParallelBeam((0.3,), 10, 4.0, 0.7), ParallelBeam((0.3,), 40, 1.0, 0.7)
    ellipse = [disc(1.0, 9, (2, 3))]
    mean = ellipse_sinogram(ellipse, narrow).reshape(10, 4).mean(1)
    assert torch.allclose(ellipse_sinogram(ellipse, wide, rays=4).flatten(), mean, atol=1e-5)
    assert not torch.allclose(ellipse_sinogram(ellipse, wide).flatten(), mean, atol=0.1)


def test_the_head_is_whole_within_its_circle():
    head = shepp_logan(30.0, value=2.0)
    image = ellipse_image(head, (64, 64))[0, 0]
    x = torch.arange(64.0) - 31.5
    assert image[torch.hypot(x[:, None], x[None]) > 31].abs().max() == 0
    assert float(image[32, 32]) == pytest.approx(0.4, abs=0.01)  # brain: a fifth of the skull's value
    assert float(image.max()) <= 2.0
    assert image[32:].sum() != image[:32].flip(0).sum()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Ellipse(1.0, (0, 0), (0, 1)),
        lambda: ellipse_image([], (8,)),
        lambda: ellipse_image([], (8, 8), (1.0, 0.0)),
        lambda: ellipse_sinogram([], ParallelBeam((0.0,), 3), rays=0),
    ],
)
def test_bad_input_is_refused(bad):
    with pytest.raises(InputError, match="not"):
        bad()

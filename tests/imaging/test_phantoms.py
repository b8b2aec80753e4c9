"""The simulated CT slices: values, determinism, anatomy in proportion, and the head template's value scale."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.phantoms import KINDS, cormack_to_hu, phantom
from diffzoo.imaging.phantoms.canvas import Canvas, smooth_field

FIELD = {"chest": 400.0, "abdomen": 400.0, "head": 246.0, "luggage": 400.0}  # mm


def slices(kind, count=8, size=96):
    return torch.stack([phantom(kind, size, FIELD[kind] / size, seed) for seed in range(count)])


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(KINDS), st.integers(8, 71), st.floats(0.3, 9), st.integers(0, 2**31))
def test_any_size_and_pixel_gives_hu_in_range(kind, size, pixel, seed):
    image = phantom(kind, size, pixel, seed)
    assert image.shape == (size, size)
    assert image.dtype == torch.float32
    assert torch.isfinite(image).all()
    assert -1000 <= float(image.min()) <= float(image.max()) <= 2000


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_bits_whatever_the_global_state(kind):
    torch.manual_seed(1)
    np.random.seed(1)
    first = phantom(kind, 48, 6.0, 7)
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, phantom(kind, 48, 6.0, 7))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, phantom(kind, 48, 6.0, 8))


def test_a_generator_moves_on_and_can_be_replayed():
    generator = torch.Generator().manual_seed(3)
    first, second = phantom("head", 32, 7.0, generator), phantom("head", 32, 7.0, generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, phantom("head", 32, 7.0, torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(("kind", "body", "bone"), [("chest", 0.25, 0.01), ("abdomen", 0.2, 0.008), ("head", 0.2, 0.015)])
def test_a_body_has_its_share_of_air_tissue_and_bone(kind, body, bone):
    images = slices(kind)
    share = (images > -300).float().mean((1, 2))
    assert (share > 0.12).all()
    assert (share < 0.8).all()
    assert float(share.mean()) > body
    assert ((images == -1000).float().mean((1, 2)) > 0.1).all()
    assert ((images > 300).float().mean((1, 2)) > 0.3 * bone).all()
    assert float((images > 300).float().mean()) > bone
    soft = images[(images > 0) & (images < 100)]
    assert 25 < float(soft.median()) < 75


def test_a_chest_has_two_lungs_and_a_bag_has_metal():
    for image in slices("chest").numpy():
        body = ndimage.binary_fill_holes(image > -500)
        lung = body & (image < -600)
        sides = lung[:, :48].mean(), lung[:, 48:].mean()
        assert min(sides) > 0.01
    assert (slices("luggage") > 1500).any()


@pytest.mark.parametrize("kind", KINDS)
def test_air_outside_is_exact(kind):
    for image in slices(kind, count=4).numpy():
        # samples farther than the scanner's blur from anything are air without noise
        away = ~ndimage.binary_dilation(image > -995, iterations=3)
        away &= ~ndimage.binary_fill_holes(image > -995)
        assert (image[away] == -1000).all()
        assert away.mean() > 0.05


@pytest.mark.parametrize("kind", ["chest", "abdomen", "head"])
def test_half_the_pixel_shows_the_same_anatomy_twice_as_large(kind):
    pixel = FIELD[kind] / 64
    coarse = phantom(kind, 64, pixel, 5).numpy()
    fine = phantom(kind, 128, pixel / 2, 5).numpy()
    pooled = fine.reshape(64, 2, 64, 2).mean((1, 3))
    assert np.corrcoef(coarse.ravel(), pooled.ravel())[0, 1] > 0.97
    large = phantom(kind, 64, pixel / 2, 5).numpy()  # the middle of the fine one, up to noise
    assert np.corrcoef(large.ravel(), fine[32:96, 32:96].ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("knee", 64, 1.0, 0), "'knee'.*chest, abdomen, head, luggage"),
        (("head", 7, 1.0, 0), "at least 8 pixels a side, not 7"),
        (("head", 64, 0.0, 0), "positive number of mm, not 0.0"),
        (("head", 64, float("nan"), 0), "positive number of mm, not nan"),
        (("head", 64, 1.0, -1), "seed must not be negative, not -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        phantom(*arguments)


@given(st.floats(5, 40), st.floats(5, 40), st.floats(0, 3), st.floats(-20, 20))
@settings(deadline=None, max_examples=20)
def test_an_ellipse_and_a_box_cover_their_area(rx, ry, angle, x):
    canvas = Canvas(200, 1.0)
    cell = canvas.step**2
    assert canvas.mask(canvas.ellipse(x, 3, rx, ry, angle)).sum() * cell == pytest.approx(np.pi * rx * ry, rel=0.02)
    assert canvas.mask(canvas.box(x, 3, rx, ry, angle)).sum() * cell == pytest.approx(4 * rx * ry, rel=0.02)


def test_a_stroke_covers_its_capsule():
    canvas = Canvas(200, 1.0)
    area = canvas.mask(canvas.stroke([(-20, 5), (10, 45)], 12)).sum() * canvas.step**2
    assert area == pytest.approx(50 * 12 + np.pi * 36, rel=0.01)


def test_paint_lays_partial_volume_at_the_edge():
    canvas = Canvas(64, 1.0)
    canvas.paint(canvas.ellipse(0, 0, 10, 10), 100)
    # the mean of the board is that of the painted area, so the edge carries its share of both values
    assert (canvas.image + 1000).sum() * canvas.step**2 == pytest.approx(1100 * np.pi * 100, rel=0.01)
    assert ((canvas.image > -990) & (canvas.image < 90)).any()


def test_a_smooth_field_has_unit_variance_and_its_length():
    axis = np.arange(-150, 150, 1.0, dtype=np.float32)
    field = smooth_field(axis, axis, 5.0, 160.0, np.random.default_rng(0))
    assert field.std() == pytest.approx(1, rel=0.05)
    # Gaussian kernels of sd s correlate as exp(-d^2 / (4 s^2))
    assert np.mean(field[:, 10:] * field[:, :-10]) == pytest.approx(np.exp(-1), abs=0.08)
    finer = smooth_field(axis[::2], axis[::2], 5.0, 160.0, np.random.default_rng(0))
    assert np.allclose(finer, field[::2, ::2], atol=1e-4)


def stretched(hu):
    """Scale of the Clinical toolbox, forwards."""
    return torch.where(hu < -100, hu + 1000, torch.where(hu <= 100, 900 + 11 * (hu + 100), hu + 3000))


def test_the_template_scale_comes_back_to_hu():
    hu = torch.linspace(-1000, 2000, 3001)
    assert torch.allclose(cormack_to_hu(stretched(hu)), hu, atol=1e-3)
    assert cormack_to_hu(torch.tensor([0, 900, 2000, 3100, 3794], dtype=torch.int16)).tolist() == [-1000, -100, 0, 100, 794]
    assert float(cormack_to_hu(torch.tensor(-5.0))) == -1000

"""Simplex noise against its closed forms: spectrum, variance, range, continuity; and the streams and the bank."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.simplex import (
    OCTAVE_SD,
    PEAK,
    VERTICES,
    Simplex,
    SimplexBank,
    octave_sum_sd,
    octave_wavelengths,
    simplex3,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def power(fields):
    """Mean power spectrum of fields [B, C, H, W], frequency 0 first; a Hann window keeps the edges from leaking."""
    windows = [torch.hann_window(n, dtype=torch.float64) for n in fields.shape[2:]]
    return torch.fft.fftn(fields.double() * torch.outer(*windows), dim=(2, 3)).abs().square().mean((0, 1))


def radial_slope(spectrum, lowest, highest):
    """Slope of log power over log frequency, radially averaged between two frequencies in cycles an image."""
    n = len(spectrum)
    along = torch.fft.fftfreq(n) * n
    radius = (along[:, None] ** 2 + along**2).sqrt().round()
    rings = torch.arange(lowest, highest + 1)
    means = torch.stack([spectrum[radius == ring].mean() for ring in rings]).log()
    x = rings.double().log()
    x = x - x.mean()
    return float((x * means).sum() / (x * x).sum())


def gradients(n, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, 2, VERTICES, 3, generator=seeded(seed)), dim=-1)


# --- the field


def test_power_falls_with_frequency_and_gaussian_noise_is_flat():
    like = torch.empty(24, 1, 64, 64)
    simplex = radial_slope(power(Simplex(range(24))(like)), 4, 30)
    gaussian = radial_slope(power(Gaussian(range(24))(like)), 4, 30)
    assert simplex < -1.5
    assert abs(gaussian) < 0.1


def test_the_spectrum_has_no_direction():
    spectrum = power(Simplex(range(150), octaves=1, wavelength=6)(torch.empty(150, 1, 48, 48)))
    along = torch.fft.fftfreq(48) * 48
    angle = torch.atan2(along[:, None].expand(48, 48), along.expand(48, 48)).rad2deg() % 180
    radius = (along[:, None] ** 2 + along**2).sqrt()
    band = (radius > 5) & (radius < 10)  # about the frequency 8 = 48 / 6 of the octave
    sectors = [spectrum[band & ((angle - centre + 90) % 180 - 90).abs().lt(15)].mean() for centre in (0, 30, 60, 90, 120, 150)]
    assert max(sectors) / min(sectors) < 1.15
    assert spectrum[band].mean() > 20 * spectrum[radius > 20].mean()


@pytest.mark.parametrize("octaves", [1, 4, 6])
def test_the_variance_is_its_closed_form_at_every_size(octaves):
    for shape in ((32, 32), (7, 90)):
        fields = Simplex(range(400), octaves)(torch.empty(400, 1, *shape))
        assert float(fields.mean()) == pytest.approx(0, abs=0.04)
        assert float(fields.square().mean().sqrt()) == pytest.approx(octave_sum_sd(octaves, 0.8), rel=0.05)
    assert octave_sum_sd(2, 0.5) == pytest.approx(OCTAVE_SD * math.sqrt(1.25))


@pytest.mark.parametrize("shape", [(200,), (40, 40), (14, 14, 14)])
def test_unit_variance_is_pooled(shape):
    fields = Simplex(range(300), unit_variance=True, wavelength=8)(torch.empty(300, 1, *shape))
    assert float(fields.square().mean().sqrt()) == pytest.approx(1, rel=0.04)
    assert float(fields.mean()) == pytest.approx(0, abs=0.06)
    plain = Simplex(range(300), wavelength=8)(torch.empty(300, 1, *shape))
    assert torch.allclose(fields, plain / octave_sum_sd(3, 0.8), atol=1e-5)
    assert float(fields.flatten(1).std(1).std()) > 0.01  # not by field


def test_the_closed_form_sd_is_the_integral_over_the_kernel():
    r = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000 * math.sqrt(0.5)
    kernel = (0.5 - r**2) ** 4
    variance = 2 * (2 / 3) * float((kernel**2 * r**2 * 4 * math.pi * r**2).sum()) * math.sqrt(0.5) / 20000
    assert math.sqrt(variance) / PEAK == pytest.approx(OCTAVE_SD, rel=1e-6)


def test_one_vertex_in_closed_form():
    table = torch.zeros(1, 2, VERTICES, 3)
    table[0, 0, 0] = torch.tensor([1.0, 1.0, 0.0])  # the vertex at the origin alone has a gradient
    points = torch.randn(3, 1, 500, generator=seeded(0)) / 3
    expected = (0.5 - points.square().sum(0)).clamp(min=0) ** 4 * (points[0] + points[1]) / PEAK
    assert torch.allclose(simplex3(points, table), expected, atol=1e-6)
    peak = torch.tensor([1.0, 1.0, 0.0]) / 6  # where (1/2 - r^2)^4 r is largest along the gradient: r^2 = 1/18
    assert float(simplex3(peak.reshape(3, 1, 1), table)) == pytest.approx((4 / 9) ** 4 / 3 / PEAK, rel=1e-5)


def test_all_vertices_within_reach_count():
    points = torch.rand(3, 1, 400, generator=seeded(1), dtype=torch.float64)
    table = gradients(1).double()
    steps = torch.arange(-2, 4, dtype=torch.float64)
    cells = torch.cartesian_prod(steps, steps, steps)
    total = torch.zeros(400, dtype=torch.float64)
    for grid in (0, 1):
        offset = points[:, 0].T[:, None] - cells - grid / 2
        key = (cells @ torch.tensor([1.0, 1173.0, 3824.0], dtype=torch.float64)).long() % VERTICES
        total += ((0.5 - offset.square().sum(2)).clamp(min=0) ** 4 * (offset * table[0, grid, key]).sum(2)).sum(1) / PEAK
    assert torch.allclose(simplex3(points, table)[0], total, atol=1e-12)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**40), st.integers(1, 6), st.floats(0.2, 1.2))
def test_the_range_is_bounded(seed, octaves, persistence):
    field = Simplex([seed], octaves, persistence)(torch.empty(1, 1, 48, 48))
    bound = sum(persistence**i for i in range(octaves))
    assert torch.isfinite(field).all()
    assert 0 < float(field.abs().max()) <= bound


def test_the_bound_is_reached_and_not_exceeded():
    def most(points):  # of the field, when each vertex has the edge midpoint that suits the point best
        total = 0
        for grid in (0, 1):
            cells = torch.cartesian_prod(*[torch.arange(-1.0, 3.0)] * 3)
            size = (points[:, None] - cells - grid / 2).abs()
            total = total + ((0.5 - size.square().sum(2)).clamp(min=0) ** 4 * (size.sum(2) - size.amin(2))).sum(1)
        return total / PEAK

    points = torch.rand(20000, 3, generator=seeded(0))
    assert 0.99 < float(most(points).max()) <= 1
    assert float(most(torch.tensor([[0.166848, 0.166848, 0.0]]))) == pytest.approx(1, abs=1e-5)


def test_an_octave_is_continuous():
    wavelength = 32
    field = Simplex([5], 1, wavelength=wavelength)(torch.empty(1, 1, 256, 256))[0, 0]
    for axis in (0, 1):
        # the slope is at most a sum of four kernels' slopes, 2^-4 sqrt(2) / PEAK = 6.8 each, in units of the wavelength
        assert 0 < float(field.diff(dim=axis).abs().max()) < 4 * 6.8 / wavelength
        assert float(field.diff(n=2, dim=axis).abs().max()) < 0.15
    coarse = Simplex([5], 1, wavelength=wavelength / 2)(torch.empty(1, 1, 128, 128))[0, 0]
    assert torch.allclose(coarse, field[::2, ::2], atol=1e-4)  # the wavelength scales the same field


def test_the_octaves_are_as_stated():
    assert octave_wavelengths((256, 256)) == [64, 32, 16, 8, 4, 2]
    assert octave_wavelengths((64, 64)) == [16, 8, 4, 2]
    assert octave_wavelengths((192, 224)) == [48, 24, 12, 6, 3]
    assert octave_wavelengths((2048, 2048))[-1] == 16
    assert octave_wavelengths((4, 4)) == [2] and octave_wavelengths((1,)) == [2]
    assert octave_wavelengths((64, 64), 6) == [16, 8, 4, 2, 1, 0.5]
    assert octave_wavelengths((64, 64), None, 20) == [20, 10, 5, 2.5]
    assert octave_wavelengths((64, 64), None, 1.5) == [1.5]


# --- the source


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.integers(1, 33), min_size=1, max_size=3).filter(lambda s: math.prod(s) < 6000),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_items_have_their_own_streams(shape, channels, seed):
    like = torch.empty(3, channels, *shape)
    whole = Simplex([seed, 7, 8])
    first, second = whole(like), whole(like)
    assert first.shape == like.shape
    alone = Simplex([seed])
    assert torch.equal(first[:1], alone(like[:1])) and torch.equal(second[:1], alone(like[:1]))
    assert not torch.equal(first, second) and not torch.equal(first[1], first[2])


def test_large_batches_are_the_items_one_by_one():
    like = torch.empty(9, 2, 61, 67)  # several parts of the work, odd sizes
    whole = Simplex(range(9))(like)
    for k in (0, 4, 8):
        assert torch.equal(whole[k : k + 1], Simplex([k])(like[:1]))


def test_channels_and_calls_are_independent():
    draw = Simplex(range(200), wavelength=4, unit_variance=True)
    first, second = (draw(torch.empty(200, 2, 16, 16)) for _ in range(2))
    for a, b in ((first[:, 0], first[:, 1]), (first[:, 0], second[:, 0]), (first[:-1], first[1:])):
        assert abs(float((a * b).mean())) < 0.03


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype(dtype):
    draw = Simplex([3])(torch.empty(1, 1, 20, 20, dtype=dtype))
    assert draw.dtype == dtype
    assert torch.allclose(draw.float(), Simplex([3])(torch.empty(1, 1, 20, 20)), atol=0.02)


def test_the_generator_of_the_process_is_left_alone():
    state = torch.random.get_rng_state()
    Simplex([0])(torch.empty(1, 1, 8, 8))
    SimplexBank(2, 8).draw(1, 4, seeded(0))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_volume_is_smooth_along_each_axis():
    field = Simplex([1], 1, wavelength=16)(torch.empty(1, 1, 20, 24, 28))[0, 0]
    for axis in range(3):
        assert float(field.diff(dim=axis).abs().max()) < 0.5 * float(field.max() - field.min())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="3 items needs 3 seeds"):
        Simplex([1, 2])(torch.empty(3, 1, 4, 4))
    with pytest.raises(ValueError, match="real floating"):
        Simplex([1])(torch.zeros(1, 1, 4, 4, dtype=torch.complex64))
    for shape in ((1, 1), (1, 1, 2, 2, 2, 2)):
        with pytest.raises(ValueError, match="1 to 3 spatial axes"):
            Simplex([1])(torch.empty(*shape))
    for wavelength in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="wavelength"):
            Simplex([1], wavelength=wavelength)
    with pytest.raises(ValueError, match="at least one octave"):
        Simplex([1], octaves=0)
    for persistence in (0.0, -0.5, math.nan):
        with pytest.raises(ValueError, match="persistence"):
            Simplex([1], persistence=persistence)
    with pytest.raises(ValueError, match="gradients"):
        simplex3(torch.zeros(3, 2, 5), gradients(1))
    with pytest.raises(ValueError, match="gradients"):
        simplex3(torch.zeros(2, 1, 5), gradients(1))


# --- the bank


def test_the_bank_holds_the_fields_of_its_seeds():
    bank, more = SimplexBank(5, 24, seed=1, wavelength=8), SimplexBank(20, (24, 24), seed=1, wavelength=8)
    assert bank.fields.dtype == torch.float16 and bank.fields.shape == (5, 24, 24)
    assert torch.equal(bank.fields, more.fields[:5])
    assert not torch.equal(bank.fields, SimplexBank(5, 24, seed=2, wavelength=8).fields)


def copies(field, height, width):
    """Every crop of a field in every sign, flip and transposition, flattened."""
    found = []
    for turned in (field, field.mT):
        for flips in ((), (0,), (1,), (0, 1)):
            if height > turned.shape[0] or width > turned.shape[1]:
                continue
            windows = turned.flip(flips).unfold(0, height, 1).unfold(1, width, 1).reshape(-1, height * width)
            found += [windows, -windows]
    return torch.cat(found)


@pytest.mark.parametrize(("size", "shape"), [((6, 7), (4, 3)), ((5, 9), (5, 2)), ((4, 9), (3, 8)), ((4, 4), (4, 4))])
def test_draws_are_crops_of_the_fields_and_all_of_them(size, shape):
    bank = SimplexBank(2, size, wavelength=3)
    draws = bank.draw(3000, shape, seeded(0))
    assert draws.shape == (3000, 1, *shape) and draws.dtype == torch.float32
    (rows, columns), (height, width) = size, shape
    turned = width <= rows and height <= columns
    every = torch.cat([copies(field.float(), height, width) for field in bank.fields])
    drawn = {tuple(d) for d in draws.flatten(1).tolist()}
    assert drawn <= {tuple(e) for e in every.tolist()}
    places = (rows + 1 - height) * (columns + 1 - width) + turned * (rows + 1 - width) * (columns + 1 - height)
    assert len(drawn) == pytest.approx(2 * 8 * places, rel=0.05)


def test_draws_repeat_by_generator_and_have_the_moments_of_the_source():
    bank = SimplexBank(300, 32, wavelength=6, unit_variance=True)
    draws = bank.draw(4000, 24, seeded(3))
    assert torch.equal(draws, bank.draw(4000, 24, seeded(3)))
    assert not torch.equal(draws, bank.draw(4000, 24, seeded(4)))
    assert float(draws.mean()) == pytest.approx(0, abs=0.02)
    assert float(draws.std()) == pytest.approx(1, abs=0.04)


def test_a_bad_bank_is_refused():
    bank = SimplexBank(1, (8, 12))
    for size in (9, (8, 13), (0, 4)):
        with pytest.raises(ValueError, match="do not fit"):
            bank.draw(1, size, seeded(0))
    for count, size in ((0, 8), (1, 0)):
        with pytest.raises(ValueError, match="at least one field"):
            SimplexBank(count, size)


def test_the_bank_is_a_noise_draw():
    bank = SimplexBank(4, 24, wavelength=8.0)
    like = torch.zeros(3, 2, 16, 20)
    first = bank(like, torch.Generator().manual_seed(3))
    assert first.shape == like.shape
    assert torch.equal(first.reshape(6, 1, 16, 20), bank.draw(6, (16, 20), torch.Generator().manual_seed(3)))

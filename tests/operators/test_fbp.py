"""Filtered backprojection from exact sinograms, and the weights of views over short, long and broken arcs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.imaging.ellipses import Ellipse, disc, ellipse_image, ellipse_sinogram
from diffzoo.operators.backprojection import fbp, fbp_by_transpose
from diffzoo.operators.beams import FanBeam, ParallelBeam, angle_weights, arc, covering
from diffzoo.operators.radon import Radon

SHAPE, PIXEL = (72, 64), (1.0, 1.1)
BODY = [
    Ellipse(0.02, (1, -2), (30, 26), 0.4),
    disc(-0.015, 8, (-8, 9)),
    disc(0.01, 5, (10, -6)),
    Ellipse(0.02, (12, 9), (7, 3), 1),
]
IMAGE = ellipse_image(BODY, SHAPE, PIXEL)


def psnr(found, region=1.0):
    weight = torch.as_tensor(region).expand_as(IMAGE)
    error = ((found - IMAGE).square() * weight).sum() / weight.sum()
    return float(10 * torch.log10(IMAGE.max() ** 2 / error))


def reconstruct(beam, filter="ramp"):
    op = Radon(beam, SHAPE, PIXEL, max_bytes=0)  # the geometry is all that counts
    return fbp(op, ellipse_sinogram(BODY, beam, rays=4), filter)


def parallel(degrees, views, start=0.0, offset=0.0):
    return ParallelBeam(arc(degrees, views, start), 103, 1.0, offset)


def fan(degrees, views, start=0.0, offset=0.0):
    return FanBeam(arc(degrees, views, start), 170, 1.0, 120.0, 80.0, offset)


@pytest.mark.parametrize("make", [parallel, fan])
@pytest.mark.parametrize("filter", ["ramp", "hann"])
@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_a_full_scan_gives_the_image(make, filter, offset):
    found = reconstruct(make(360, 360, 17, offset), filter)
    assert psnr(found) > (29 if filter == "ramp" else 25)
    assert float(found.sum() / IMAGE.sum()) == pytest.approx(1, abs=0.01)
    flat = ellipse_image([disc(1.0, 4, (-8, 9))], SHAPE, PIXEL) == 1  # within an ellipse of value 0.02 - 0.015
    assert float(found[flat].mean()) == pytest.approx(0.005, rel=0.05)


def test_the_hann_filter_is_the_smoother_one():
    beam = parallel(180, 90)
    noise = torch.randn(1, 1, 90, 103, generator=torch.Generator().manual_seed(0))
    op = Radon(beam, SHAPE, PIXEL)
    assert fbp(op, noise, "hann").std() < 0.6 * fbp(op, noise, "ramp").std()


@pytest.mark.parametrize("start", [0.0, -77.0])
def test_an_arc_beyond_half_a_turn_does_not_count_twice(start):
    half = reconstruct(parallel(180, 120, start))
    for degrees, views in ((240, 160), (360, 240)):
        assert (reconstruct(parallel(degrees, views, start)) - half).abs().max() < 2e-2 * half.max()


@pytest.mark.parametrize("start", [0.0, 140.0])
@pytest.mark.parametrize("degrees", [230, 300])
def test_a_short_fan_scan_gives_what_a_full_turn_gives(start, degrees):
    full = reconstruct(fan(360, 360))
    short = reconstruct(fan(degrees, degrees, start))
    assert psnr(short) > psnr(full) - 1.5


def test_a_mirrored_fan_scan_would_not_do():
    """The weights of a short scan know which way the rays turn: those of the other way leave shading."""
    beam = fan(230, 230)
    op, y = Radon(beam, SHAPE, PIXEL, max_bytes=0), ellipse_sinogram(BODY, beam, rays=4)
    wrong = y / beam.weights().float() * beam.weights().flip(1).float()
    assert psnr(fbp(op, wrong)) < psnr(fbp(op, y)) - 5


@pytest.mark.parametrize("make", [parallel, fan])
def test_more_of_the_arc_is_better(make):
    found = [psnr(reconstruct(make(degrees, degrees))) for degrees in (60, 90, 120, 180)]
    assert found == sorted(found)
    assert found[0] < found[-1] - 8


def test_a_limited_arc_is_its_share_of_the_whole():
    """Views weigh what they weigh in the full scan, so reconstructions of two quarter turns add up to that of the half turn."""
    parts = reconstruct(parallel(90, 60)) + reconstruct(parallel(90, 60, start=90))
    assert torch.allclose(parts, reconstruct(parallel(180, 120)), atol=1e-6)


def test_views_in_any_order_and_turn():
    angles = arc(140, 70, start=20)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0)).tolist()
    beam, mixed = ParallelBeam(angles, 103), ParallelBeam(tuple(angles[k] + 2 * math.pi * (k % 3) for k in order), 103)
    assert torch.allclose(reconstruct(beam), reconstruct(mixed), atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 6), min_size=1, max_size=12), st.sampled_from([math.pi, 2 * math.pi]))
def test_views_never_stand_for_more_than_the_period(angles, period):
    weights = angle_weights(angles, period)
    assert len(weights) == len(angles) and (weights >= 0).all()
    assert float(weights.sum()) <= period * (1 + 1e-9)


def test_the_angle_a_view_stands_for():
    step = math.pi / 180
    assert torch.allclose(angle_weights(arc(180, 180), math.pi), torch.tensor(step, dtype=torch.float64))
    assert torch.allclose(angle_weights(arc(60, 60, 77), math.pi), torch.tensor(step, dtype=torch.float64))
    twice = angle_weights(arc(360, 360), math.pi)
    assert torch.allclose(twice, torch.tensor(step / 2, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(angle_weights((0.0, 0.1, 0.3, 0.4), math.pi), torch.tensor([0.1, 0.15, 0.15, 0.1], dtype=torch.float64))
    assert angle_weights((1.0,), math.pi).tolist() == [math.pi]


def test_each_item_and_channel_on_its_own_and_differentiable():
    beam = parallel(90, 12)
    op = Radon(beam, SHAPE, PIXEL)
    y = torch.randn(2, 3, 12, 103, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = fbp(op, y)
    assert found.shape == (2, 3, *SHAPE)
    assert torch.allclose(found[1:, 2:], fbp(op, y[1:, 2:]), atol=1e-5)
    assert ((found != 0) <= (op.field_of_view > 0)).all()
    v = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    gradient = torch.autograd.grad((found * v).sum(), y)[0]
    assert float((gradient * y.detach()).sum()) == pytest.approx(float((found.detach() * v).sum()), rel=1e-3)


def test_a_single_bin_and_a_single_view():
    op = Radon(ParallelBeam((0.0,), 1), (3, 3))
    found = fbp(op, torch.full((1, 1, 1, 1), 2.0))
    assert float(found[0, 0, 1, 1]) == pytest.approx(2 * math.pi / 4)
    assert int((found != 0).sum()) == 1


@pytest.mark.parametrize(
    ("y", "filter", "message"),
    [(torch.zeros(1, 1, 12, 103), "shepp", "filter"), (torch.zeros(1, 1, 103, 12), "ramp", r"\[B, C, 12, 103\]")],
)
def test_bad_input_is_refused(y, filter, message):
    with pytest.raises(ValueError, match=message):
        fbp(Radon(parallel(90, 12), SHAPE, PIXEL, max_bytes=0), y, filter)


@pytest.mark.parametrize("degrees", [60, 180])
def test_backprojection_by_the_transpose_is_as_near_to_the_truth(degrees):
    truth = disc_image()
    op = Radon(ParallelBeam(arc(degrees, degrees), *covering(truth.shape[2:])), truth.shape[2:])
    y = op.A(truth)
    slow, fast = fbp(op, y, "hann"), fbp_by_transpose(op, y, "hann")
    assert (fast - slow).norm() < 0.05 * slow.norm()


def test_backprojection_by_the_transpose_leaves_fan_beams_to_interpolation():
    op = Radon(FanBeam(arc(360, 90), 65, 1.0, source_distance=100.0, detector_distance=0.0), (32, 32))
    y = op.A(torch.ones(1, 1, 32, 32))
    assert torch.equal(fbp_by_transpose(op, y), fbp(op, y))


def disc_image():
    x, y = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    return ((x**2 + (y - 0.1) ** 2) < 0.5).float()[None, None]

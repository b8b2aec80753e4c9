"""X-ray transform: full matrices of A and AT, exact chords and places, the field of view, and the two ways to compute it."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.imaging.ellipses import disc, ellipse_image, ellipse_sinogram, shepp_logan
from diffzoo.operators.base import Identity, Scaled, spectral_norm
from diffzoo.operators.beams import FanBeam, ParallelBeam, arc, covering
from diffzoo.operators.joseph import most_weights
from diffzoo.operators.radon import Radon

PARALLEL = ParallelBeam(arc(180, 24), 47)
FAN = FanBeam(arc(360, 24, start=10), 60, 1.6, 50.0, 40.0, 0.4)
SETTINGS = [
    (PARALLEL, (32, 32), (1.0, 1.0)),
    (ParallelBeam(arc(90, 9, start=-20), 31, 0.8, 0.3), (16, 23), (1.0, 1.0)),
    (ParallelBeam(arc(180, 12), 64, 0.5), (25, 16), (0.8, 1.7)),
    (FAN, (32, 32), (1.0, 1.0)),
    (FanBeam(arc(120, 10), 33, 1.0, 30.0, 0.0), (17, 24), (1.2, 0.7)),
]


def matrix_of(function, shape):
    n = math.prod(shape)
    return function(torch.eye(n, dtype=torch.float64).reshape(n, 1, *shape)).reshape(n, -1).mT


def measured(beam):
    return len(beam.angles), beam.detectors


@pytest.mark.parametrize("max_bytes", [2**30, 0], ids=["matrix", "free"])
@pytest.mark.parametrize(("beam", "shape", "pixel"), SETTINGS)
def test_adjoint_is_the_exact_transpose(beam, shape, pixel, max_bytes):
    op = Radon(beam, shape, pixel, max_bytes).double()
    assert (op.matrix is None) == (max_bytes == 0)
    forward, back = matrix_of(op.A, shape), matrix_of(op.AT, measured(beam))
    assert forward.max() > 0.1
    assert (forward - back.mT).abs().max() == 0


@pytest.mark.parametrize(("beam", "shape", "pixel"), SETTINGS)
def test_matrix_free_equals_the_matrix(beam, shape, pixel):
    stored, free = Radon(beam, shape, pixel), Radon(beam, shape, pixel, max_bytes=0)
    x = torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0))
    y = stored.A(x)
    assert y.shape == (3, 2, *measured(beam))
    assert torch.allclose(free.A(x), y, atol=1e-4)
    assert torch.allclose(free.AT(y), stored.AT(y), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("beam", "shape", "pixel"), SETTINGS)
def test_the_matrix_is_chosen_by_a_tight_bound_of_its_size(beam, shape, pixel):
    op = Radon(beam, shape, pixel)
    bound = most_weights(*beam.rays(slice(None)), shape, pixel, beam.field_radius)
    used = int((op.matrix.values > 0).sum())
    assert used == len(op.matrix.values) == len(op.transpose.values)
    assert used <= bound <= 1.4 * used
    assert Radon(beam, shape, pixel, 16 * bound).matrix is not None
    assert Radon(beam, shape, pixel, 16 * bound - 1).matrix is None


def test_the_bound_is_close_at_a_usual_size():
    beam = ParallelBeam(arc(180, 20), 128)
    op = Radon(beam, (128, 128))
    assert len(op.matrix.values) > 0.9 * most_weights(*beam.rays(slice(None)), (128, 128), (1.0, 1.0), beam.field_radius)


@pytest.mark.parametrize("max_bytes", [2**30, 0], ids=["matrix", "free"])
def test_gradients_of_both_directions(max_bytes):
    op = Radon(ParallelBeam(arc(180, 5), 9), (6, 7), max_bytes=max_bytes).double()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 6, 7, dtype=torch.float64, generator=g, requires_grad=True)
    y = torch.randn(2, 1, 5, 9, dtype=torch.float64, generator=g, requires_grad=True)
    for function, value in ((op.A, x), (op.AT, y)):
        assert torch.autograd.gradcheck(function, (value,))
        assert torch.autograd.gradgradcheck(lambda v, f=function: f(v).square(), (value,))


@settings(deadline=None, max_examples=20)
@given(st.floats(-4, 4), st.floats(12, 25), st.booleans())
def test_a_centred_disc_has_its_chords(angle, radius, fan):
    beam = FanBeam((angle,), 97, 1.2, 90.0, 50.0) if fan else ParallelBeam((angle,), 65)
    found = Radon(beam, (64, 64), max_bytes=0).A(ellipse_image([disc(0.7, radius)], (64, 64))).flatten().double()
    points, directions = beam.rays(slice(None))
    distance = (points[:, 0] * directions[:, 1] - points[:, 1] * directions[:, 0]).abs()
    chord = 2 * (radius**2 - distance**2).clamp(min=0).sqrt()
    within = distance < 0.75 * radius
    assert within.sum() > 10
    assert ((found - 0.7 * chord).abs() < 0.02 * 0.7 * chord)[within].all()
    assert (found[distance > radius + 2] == 0).all()


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.integers(0, 18), st.integers(0, 14)),
    st.floats(0, 7),
    st.tuples(st.floats(0.5, 1.5), st.floats(0.5, 1.5)),
    st.floats(-3, 3),
    st.booleans(),
)
def test_a_pixel_lands_where_geometry_says(at, angle, pixel, offset, fan):
    shape = (19, 15)
    x, y = ((k - (n - 1) / 2) * side for k, n, side in zip(at, shape, pixel, strict=True))
    across, depth = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if fan:
        beam, place = FanBeam((angle,), 400, 0.25, 80.0, 20.0, offset), across * 100 / (80 + depth)
    else:
        beam, place = ParallelBeam((angle,), 200, 0.25, offset), across
    image = torch.zeros(1, 1, *shape)
    image[0, 0, at[0], at[1]] = 1
    view = Radon(beam, shape, pixel).A(image).flatten().double()
    bins = (torch.arange(beam.detectors) - (beam.detectors - 1) / 2) * 0.25 + offset
    assert float((view * bins).sum() / view.sum()) == pytest.approx(place, abs=0.05)
    if not fan:
        assert float(view.sum()) * 0.25 == pytest.approx(pixel[0] * pixel[1], rel=0.35)  # its area


def test_turning_and_flipping_the_image_turns_and_flips_the_sinogram():
    op = Radon(ParallelBeam(arc(360, 8), 25), (17, 17))
    x = torch.rand(1, 1, 17, 17, generator=torch.Generator().manual_seed(0)) * op.field_of_view
    y = op.A(x)
    turned = torch.rot90(x, 1, (2, 3))  # (x, y) -> (-y, x)
    assert torch.allclose(op.A(turned), y.roll(2, 2), atol=1e-4)
    assert torch.allclose(op.A(x.flip(2)), y[:, :, [4, 3, 2, 1, 0, 7, 6, 5]], atol=1e-4)
    assert torch.allclose(y[:, :, 4:], y[:, :, :4].flip(3), atol=1e-4)  # from the other side


def test_error_against_the_exact_sinogram_of_a_head():
    beam, head = ParallelBeam(arc(180, 60), 256), shepp_logan(125.0)
    found, exact = Radon(beam, (256, 256)).A(ellipse_image(head, (256, 256))), ellipse_sinogram(head, beam, rays=8)
    assert float((found - exact).norm() / exact.norm()) <= 0.01


def test_an_image_twice_as_fine_is_twice_as_exact():
    beam, head = FanBeam(arc(360, 20), 200, 1.0, 150.0, 100.0), shepp_logan(50.0)
    exact = ellipse_sinogram(head, beam, rays=8)
    errors = []
    for n in (64, 128):
        pixel = (100 / n, 100 / n)
        errors.append(float((Radon(beam, (n, n), pixel).A(ellipse_image(head, (n, n), pixel)) - exact).norm() / exact.norm()))
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 0.03


def test_only_the_field_of_view_counts():
    op = Radon(ParallelBeam(arc(180, 16), 21, 1.0, 2.0), (32, 32))
    x = torch.arange(32.0) - 15.5
    inside = torch.hypot(x[:, None], x[None]) <= 8
    assert torch.equal(op.field_of_view[0, 0] > 0, inside)
    back = op.AT(torch.ones(1, 1, 16, 21))[0, 0]
    assert (back[~inside] == 0).all() and (back[inside] > 0).all()
    assert (op.A((~inside).float()[None, None]) == 0).all()


@pytest.mark.parametrize(("shape", "pixel"), [((32, 32), (1.0, 1.0)), ((15, 40), (0.9, 1.3)), ((1, 8), (1.0, 2.0))])
def test_a_covering_detector_sees_all_and_no_more(shape, pixel):
    detectors, spacing = covering(shape, pixel)
    assert Radon(ParallelBeam((0.0,), detectors, spacing), shape, pixel).field_of_view.all()
    assert not Radon(ParallelBeam((0.0,), detectors - 1, spacing), shape, pixel).field_of_view.all()


def test_the_same_result_alone_and_in_a_batch_and_by_channel():
    op = Radon(FAN, (32, 32))
    x = torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    y = op.A(x)
    for b in range(3):
        for c in range(2):
            assert torch.allclose(op.A(x[b : b + 1, c : c + 1])[0, 0], y[b, c], atol=1e-4)
            assert torch.allclose(op.AT(y[b : b + 1, c : c + 1])[0, 0], op.AT(y)[b, c], atol=1e-2)


@pytest.mark.parametrize("max_bytes", [2**30, 0], ids=["matrix", "free"])
def test_cg_solves_for_the_image(max_bytes):
    op = Radon(ParallelBeam(arc(180, 40), 23), (16, 16), max_bytes=max_bytes).double()
    op.cg_steps, op.cg_tol = 400, 1e-9
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (op.pinv(op.A(x)) - x).norm() < 1e-3 * x.norm()
    lam = torch.tensor([0.5, 30.0], dtype=torch.float64)
    solved = op.solve(x, lam)
    assert (op.AtA(solved) + lam[:, None, None, None] * solved - x).norm() < 1e-6 * x.norm()


def test_it_moves_and_copies_without_its_matrix_in_the_state():
    op = Radon(PARALLEL, (32, 32))
    assert not op.state_dict()
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    y = op.A(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(op.A(x), y)
    for other in (copy.deepcopy(op), pickle.loads(pickle.dumps(op))):
        assert torch.equal(other.A(x), y)
        assert torch.allclose(other.double().A(x.double()), y.double(), atol=1e-4)
        assert other.matrix.columns.dtype == other.transpose.starts.dtype == torch.int32
    assert torch.equal(op.A(x), y)


@pytest.mark.parametrize(("beam", "shape", "pixel"), SETTINGS)
def test_stored_matrices_are_in_order(beam, shape, pixel):
    op = Radon(beam, shape, pixel)
    for one in (op.matrix, op.transpose):
        torch.sparse_csr_tensor(one.starts, one.columns, one.values, one.size, check_invariants=True)


def test_the_norm_and_an_operator_of_unit_norm():
    op = Radon(PARALLEL, (16, 16)).double()
    exact = float(torch.linalg.matrix_norm(matrix_of(op.A, (16, 16)), 2))
    norm = spectral_norm(op, (1, 16, 16))
    assert norm == pytest.approx(exact, rel=1e-3) and norm <= exact * (1 + 1e-9)
    assert spectral_norm(Scaled(op, 1 / norm), (1, 16, 16)) == pytest.approx(1, rel=1e-3)
    assert spectral_norm(Identity(), (1, 5)) == pytest.approx(1)


@pytest.mark.parametrize("factor", [0.01, -3.0])
def test_a_scaled_operator_is_its_scaled_matrix(factor):
    op = Radon(ParallelBeam(arc(180, 20), 13), (8, 8)).double()
    scaled, dense = Scaled(op, factor), factor * matrix_of(op.A, (8, 8))
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(scaled.A(x).flatten(1), x.flatten(1) @ dense.mT)
    assert torch.allclose(scaled.AT(scaled.A(x)).flatten(1), x.flatten(1) @ dense.mT @ dense)
    assert (scaled.pinv(scaled.A(x)) - x).norm() < 1e-3 * x.norm()
    normal = dense.mT @ dense + 0.7 * torch.eye(64, dtype=torch.float64)
    exact = torch.linalg.solve(normal, x.flatten(1).mT).mT
    assert (scaled.solve(x, 0.7).flatten(1) - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: ParallelBeam((), 5), "one or more"),
        (lambda: ParallelBeam((math.nan,), 5), "finite"),
        (lambda: ParallelBeam((0.0,), 0), "at least one detector"),
        (lambda: ParallelBeam((0.0,), 5, 0.0), "detector_spacing"),
        (lambda: FanBeam((0.0,), 5, 1.0, 0.0, 1.0), "source_distance"),
        (lambda: FanBeam((0.0,), 5, 1.0, 10.0, -1.0), "detector_distance"),
        (lambda: arc(90, 0), "at least one view"),
        (lambda: Scaled(Identity(), 0.0), "factor"),
        (lambda: Scaled(Identity(), math.inf), "factor"),
        (lambda: Radon(PARALLEL, (8,)), "shape"),
        (lambda: Radon(PARALLEL, (8, 8), (1.0, 0.0)), "positive"),
        (lambda: Radon(ParallelBeam((0.0,), 3, 1.0, 20.0), (8, 8)), "no pixel"),
        (lambda: Radon(PARALLEL, (8, 8)).A(torch.zeros(1, 1, 8, 9)), r"\[B, C, 8, 8\]"),
        (lambda: Radon(PARALLEL, (8, 8)).AT(torch.zeros(1, 24, 47)), r"\[B, C, 24, 47\]"),
        (lambda: Radon(PARALLEL, (8, 8)).A(torch.zeros(1, 1, 8, 8, dtype=torch.float64)), "float64"),
    ],
)
def test_bad_input_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        bad()

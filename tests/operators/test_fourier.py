"""Fourier operators: full matrices of A and AT, pinv and solve against dense algebra, and the conventions at the border."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.operators.fourier import (
    MaskedFourier,
    RealMaskedFourier,
    SenseFourier,
    centre,
    complex_of,
    fft,
    fft_centred,
    from_centred,
    ifft,
    ifft_centred,
    pairs_of,
    to_centred,
    uncentre,
)

SHAPES = [(9,), (8,), (8, 8), (7, 9), (8, 5), (3, 4, 5)]


def build(kind, shape, coils=3, seed=0):
    """Operator in float64 with a random mask, and the numbers of channels of x and y."""
    g = torch.Generator().manual_seed(seed)
    mask = (torch.rand(1, 1, *shape, generator=g) < 0.45).double()
    mask[(0, 0, *[0] * len(shape))] = 1
    if kind == "single":
        return MaskedFourier(mask), 2, 2
    if kind == "real":
        return RealMaskedFourier(mask), 1, 2
    maps = torch.randn(1, 2 * coils, *shape, generator=g, dtype=torch.float64)
    return SenseFourier(mask, maps, steps=2000, tol=1e-13), 2, 2 * coils


def matrix_of(function, channels, shape):
    """Matrix of a linear map, one unit vector an item of the batch."""
    n = channels * math.prod(shape)
    return function(torch.eye(n, dtype=torch.float64).reshape(n, channels, *shape)).reshape(n, -1).mT


@pytest.mark.parametrize("kind", ["single", "real", "sense"])
@pytest.mark.parametrize("shape", [*SHAPES, (16, 16)])
def test_adjoint_is_the_exact_transpose(kind, shape):
    if kind == "sense" and shape == (16, 16):
        shape = (12, 13)
    operator, cx, cy = build(kind, shape)
    forward, back = matrix_of(operator.A, cx, shape), matrix_of(operator.AT, cy, shape)
    assert forward.abs().max() > 0.01
    assert (forward - back.mT).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["single", "real", "sense"])
@pytest.mark.parametrize("shape", SHAPES)
def test_pinv_and_solve_match_dense(kind, shape):
    operator, cx, cy = build(kind, shape)
    forward = matrix_of(operator.A, cx, shape)
    y = torch.randn(2, cy, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    dense = y.flatten(1) @ torch.linalg.pinv(forward, rtol=1e-9).mT
    assert (operator.pinv(y).flatten(1) - dense).norm() < 1e-6 * dense.norm()
    b = torch.randn(2, cx, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for lam in (0.02, torch.tensor([0.3, 7.0], dtype=torch.float64)):
        weight = torch.as_tensor(lam, dtype=torch.float64).expand(2)
        normal = forward.mT @ forward + weight[:, None, None] * torch.eye(forward.shape[1], dtype=torch.float64)
        dense = torch.linalg.solve(normal, b.flatten(1))
        assert (operator.solve(b, lam).flatten(1) - dense).norm() < 1e-9 * dense.norm()


@pytest.mark.parametrize("n", [8, 9])
def test_a_line_fixes_its_mirror_for_a_real_image(n):
    mask = torch.zeros(1, 1, n, dtype=torch.float64)
    mask[..., : n // 2 + 1] = 1  # half of k-space and frequency 0: all a real image needs
    x = torch.randn(2, 1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    operator = RealMaskedFourier(mask)
    assert torch.allclose(operator.pinv(operator.A(x)), x, atol=1e-12)


@pytest.mark.parametrize("kind", ["single", "real", "sense"])
def test_each_item_has_its_own_mask_and_maps(kind):
    shape, g = (8, 6), torch.Generator().manual_seed(3)
    mask = (torch.rand(3, 1, *shape, generator=g) < 0.5).double()
    maps = torch.randn(3, 4, *shape, generator=g, dtype=torch.float64)

    def make(m, s):
        return {
            "single": lambda: MaskedFourier(m),
            "real": lambda: RealMaskedFourier(m),
            "sense": lambda: SenseFourier(m, s, steps=300, tol=1e-12),
        }[kind]()

    together = make(mask, maps)
    x = torch.randn(3, 1 if kind == "real" else 2, *shape, generator=g, dtype=torch.float64)
    y = together.A(x)
    for i in range(3):
        one = slice(i, i + 1)
        alone = make(mask[one], maps[one])
        assert torch.allclose(y[one], alone.A(x[one]), atol=1e-12)
        assert torch.allclose(together.AT(y)[one], alone.AT(y[one]), atol=1e-12)
        assert torch.allclose(together.solve(x, 0.1)[one], alone.solve(x[one], 0.1), atol=1e-9)


def test_sense_reaches_a_noise_free_image_from_enough_coils():
    g = torch.Generator().manual_seed(4)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., ::2] = 1
    maps = torch.randn(1, 8, 16, 16, generator=g)
    operator = SenseFourier(mask, maps, steps=200, tol=1e-6)
    x = torch.randn(2, 2, 16, 16, generator=g)
    assert (operator.pinv(operator.A(x)) - x).norm() < 1e-3 * x.norm()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 99))
def test_fft_is_orthonormal_and_pairs_round_trip(shape, coils, seed):
    x = torch.randn(2, 2 * coils, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(pairs_of(complex_of(x)), x)
    assert complex_of(x).shape == (2, coils, *shape)
    spectrum = fft(complex_of(x))
    assert torch.allclose(spectrum.abs().square().sum(), x.square().sum())
    assert torch.allclose(pairs_of(ifft(spectrum)), x, atol=1e-12)
    mean = complex_of(x).flatten(2).sum(2) / math.prod(shape) ** 0.5
    assert torch.allclose(spectrum.flatten(2)[..., 0], mean, atol=1e-12)  # frequency 0 comes first


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 11), st.integers(2, 11), st.integers(0, 99))
def test_files_and_operators_agree_on_the_same_image(height, width, seed):
    image = torch.randn(2, 3, height, width, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    held = fft_centred(image)
    assert torch.allclose(ifft_centred(held), image, atol=1e-12)
    assert torch.allclose(from_centred(held), fft(image), atol=1e-12)
    assert torch.allclose(to_centred(fft(image)), held, atol=1e-12)
    assert torch.equal(uncentre(centre(image)), image)


def test_centred_kspace_has_frequency_zero_in_the_middle():
    for n in (8, 9):
        held = fft_centred(torch.ones(1, 1, n, n, dtype=torch.complex128))
        assert abs(held[0, 0, n // 2, n // 2] - n) < 1e-12
        assert held.abs().sum() - held[0, 0, n // 2, n // 2].abs() < 1e-10
        assert int(uncentre(held.abs()).argmax()) == 0


def test_unmeasured_zeros_stay_zero_at_the_border():
    held = fft_centred(torch.randn(1, 1, 8, 7, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)))
    held[..., 1::2] = 0
    assert ((from_centred(held) == 0) == uncentre(held == 0)).all()


def test_operators_move_to_another_precision():
    operator, *_ = build("sense", (8, 8))
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    reference = operator.A(x)
    single = operator.float()
    assert single.A(x.float()).dtype == torch.float32
    assert torch.allclose(single.A(x.float()).double(), reference, atol=1e-5)


def test_bad_input_is_refused():
    mask = torch.ones(1, 1, 8, 8)
    with pytest.raises(ValueError, match="even number of channels"):
        complex_of(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="even number of channels"):
        MaskedFourier(mask).A(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"\[B or 1, 1, \*S\]"):
        MaskedFourier(torch.ones(1, 2, 8, 8))
    with pytest.raises(ValueError, match="do not fit"):
        SenseFourier(mask, torch.zeros(1, 4, 8, 7))
    with pytest.raises(ValueError, match="do not fit"):
        SenseFourier(mask, torch.zeros(1, 4, 8))
    with pytest.raises(ValueError, match="lam > 0"):
        RealMaskedFourier(mask).solve(torch.zeros(1, 1, 8, 8), 0)

"""CG, composition and the simplest operators, against dense linear algebra in float64."""

import pytest
import torch

from diffzoo.operators.base import Identity, LinearOperator, Mask, cg


def spd(batch, n, generator, condition=100.0):
    q = torch.linalg.qr(torch.randn(batch, n, n, generator=generator, dtype=torch.float64)).Q
    values = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), n, dtype=torch.float64)
    return q @ torch.diag(values) @ q.mT


class Dense(LinearOperator):
    def __init__(self, matrix, tol=1e-13):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.cg_tol, self.cg_steps = tol, 400

    def A(self, x):
        return x @ self.matrix.mT

    def AT(self, y):
        return y @ self.matrix


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_cg_solves_a_dense_system(generator):
    matrix = spd(3, 20, generator)
    b = torch.randn(3, 20, generator=generator, dtype=torch.float64)
    x = cg(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, steps=200, tol=1e-13)
    assert torch.allclose(x, torch.linalg.solve(matrix, b), rtol=0, atol=1e-9)


def test_cg_ends_in_as_many_steps_as_there_are_distinct_eigenvalues(generator):
    vectors = torch.linalg.eigh(spd(1, 12, generator)[0]).eigenvectors
    matrix = vectors @ torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).repeat(4)) @ vectors.mT
    b = torch.randn(1, 12, generator=generator, dtype=torch.float64)
    x = cg(lambda v: v @ matrix, b, steps=3, tol=0.0)
    assert torch.allclose(x @ matrix, b, rtol=0, atol=1e-12)


def test_cg_item_does_not_depend_on_its_batch(generator):
    matrix = spd(4, 30, generator, condition=5.0)  # CG magnifies rounding where the condition is bad
    matrix = matrix * torch.tensor([1.0, 1e3, 1e-3, 1.0], dtype=torch.float64)[:, None, None]
    b = torch.randn(4, 30, generator=generator, dtype=torch.float64)
    b[3] = 0  # an item that is finished at once
    for steps in (3, 12, 300):
        together = cg(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, steps=steps, tol=1e-8)
        for i in range(4):
            alone = cg(lambda v, i=i: torch.einsum("ij,bj->bi", matrix[i], v), b[i : i + 1], steps=steps, tol=1e-8)
            assert torch.allclose(together[i], alone[0], rtol=1e-9, atol=1e-9 * float(alone.abs().max()))
    assert together[3].abs().max() == 0


def test_cg_starts_from_x0_and_leaves_it_alone(generator):
    matrix = spd(2, 10, generator)
    b = torch.randn(2, 10, generator=generator, dtype=torch.float64)
    exact = torch.linalg.solve(matrix, b)
    start = exact.clone()
    x = cg(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, x0=start, steps=0)
    assert torch.equal(x, exact)
    zero = torch.zeros_like(b)
    cg(lambda v: torch.einsum("bij,bj->bi", matrix, v), b, x0=zero, steps=50)
    assert zero.abs().max() == 0


def test_cg_survives_a_null_space_and_long_runs(generator):
    factor = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.mT
    b = (matrix @ torch.randn(6, generator=generator, dtype=torch.float64))[None]
    x = cg(lambda v: v @ matrix, b, steps=1000, tol=1e-12)
    assert torch.allclose(x, b @ torch.linalg.pinv(matrix), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (9, 9)])
def test_default_pinv_and_solve_match_dense(shape, generator):
    operator = Dense(torch.randn(*shape, generator=generator, dtype=torch.float64))
    y = torch.randn(3, shape[0], generator=generator, dtype=torch.float64)
    assert torch.allclose(operator.pinv(y), y @ torch.linalg.pinv(operator.matrix).mT, rtol=0, atol=1e-8)
    b = torch.randn(3, shape[1], generator=generator, dtype=torch.float64)
    lam = torch.tensor([0.01, 0.3, 5.0], dtype=torch.float64)
    normal = operator.matrix.mT @ operator.matrix + lam[:, None, None] * torch.eye(shape[1], dtype=torch.float64)
    assert torch.allclose(operator.solve(b, lam), torch.linalg.solve(normal, b), rtol=0, atol=1e-8)


def test_composition_is_the_product_of_matrices(generator):
    outer = Dense(torch.randn(5, 8, generator=generator, dtype=torch.float64))
    inner = Dense(torch.randn(8, 6, generator=generator, dtype=torch.float64))
    both = outer @ inner
    x = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    product = outer.matrix @ inner.matrix
    assert torch.allclose(both(x), x @ product.mT, atol=1e-12)
    assert torch.allclose(both.AT(y), y @ product, atol=1e-12)
    assert torch.allclose(both.AtA(x), x @ (product.mT @ product), atol=1e-11)


def test_mask_and_identity(generator):
    mask = (torch.rand(1, 1, 5, 4, generator=generator) < 0.5).double()
    x = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    operator = Mask(mask)
    assert torch.equal(operator.pinv(operator.A(x)), mask * x)
    assert torch.allclose(operator.AtA(operator.solve(x, 0.7)) + 0.7 * operator.solve(x, 0.7), x)
    assert torch.allclose(Identity().solve(x, 0.5) * 1.5, x)
    assert torch.equal(Identity().pinv(Identity().A(x)), x)
    assert torch.equal((operator @ Identity()).A(x), mask * x)


def test_boolean_mask_becomes_a_float_buffer():
    operator = Mask(torch.ones(1, 1, 4, 4, dtype=torch.bool))
    assert operator.mask.dtype == torch.float32
    assert operator.double().mask.dtype == torch.float64


@pytest.mark.parametrize("bad", [torch.ones(4, 4), torch.full((1, 1, 4, 4), 0.5), torch.full((1, 1, 4), float("nan"))])
def test_bad_masks_are_refused(bad):
    with pytest.raises(ValueError, match="mask must"):
        Mask(bad)


@pytest.mark.parametrize("lam", [0.0, -1.0, float("nan"), torch.tensor([1.0, 0.0])])
def test_solve_wants_a_positive_weight(lam):
    for operator in (Identity(), Mask(torch.ones(1, 1, 3)), Dense(torch.eye(3))):
        with pytest.raises(ValueError, match="lam > 0"):
            operator.solve(torch.zeros(2, 1, 3), lam)

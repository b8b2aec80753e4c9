"""Linear operators with exact transposes, conjugate gradients, and the two simplest operators."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def cg(apply: Callable[[Tensor], Tensor], b: Tensor, x0: Tensor | None = None, steps: int = 100, tol: float = 1e-6) -> Tensor:
    """Conjugate gradients for apply(x) = b, symmetric and positive semi-definite, each item of the batch [B, ...] on its own.

    An item stops when its residual norm is below `tol` times its norm of b, or after `steps` iterations; its step lengths and its
    stop depend on that item alone. With x0 None and b in the range of `apply` the solution of least norm is found (Hestenes &
    Stiefel 1952).
    """
    x = torch.zeros_like(b) if x0 is None else x0
    r = b if x0 is None else b - apply(x0)
    p, rr = r, _dot(r, r)
    goal = tol**2 * _dot(b, b)
    for _ in range(steps):
        live = rr > goal
        if not live.any():
            break
        q = apply(p)
        curvature = _dot(p, q)
        live = live & (curvature > 0)  # a direction of no curvature lies in the null space: nothing is left to gain
        alpha = torch.where(live, rr / torch.where(live, curvature, 1), 0)
        x, r = x + expand_as(alpha, b) * p, r - expand_as(alpha, b) * q
        new = _dot(r, r)
        beta = torch.where(live, new / torch.where(live, rr, 1), 0)
        p, rr = r + expand_as(beta, b) * p, torch.where(live, new, 0)
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def expand_as(values: Tensor, x: Tensor) -> Tensor:
    """Views per-item values [B] as [B, 1, ..., 1] beside x [B, ...]."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def damping(lam: float | Tensor, like: Tensor) -> Tensor:
    """The weight lam, one float or one value an item [B], shaped to multiply `like` [B, ...].

    Raises ValueError unless lam > 0: with lam = 0 the damped problem has no unique solution where nothing is measured.
    """
    value = torch.as_tensor(lam, dtype=like.dtype, device=like.device)
    if not bool((value > 0).all()):
        raise ValueError(f"solve needs lam > 0, not {lam}; use pinv for the undamped solution")
    return expand_as(value, like)


class LinearOperator(nn.Module):
    """A linear map between real tensors [B, C, *S] -> [B, ...]; state is in buffers, so `.to` moves it.

    AT is the exact transpose under the real inner product. `cg_steps` and `cg_tol` bound the CG behind the defaults of `pinv` and
    `solve`; operators with a closed form override both.
    """

    cg_steps: int = 100
    cg_tol: float = 1e-6

    def A(self, x: Tensor) -> Tensor:
        """x [B, C, *S] -> measurements y [B, ...]."""
        raise NotImplementedError(f"{type(self).__name__} defines no A")

    def AT(self, y: Tensor) -> Tensor:
        """y [B, ...] -> [B, C, *S], with <A x, y> = <x, AT y> for all x and y."""
        raise NotImplementedError(f"{type(self).__name__} defines no AT")

    def forward(self, x: Tensor) -> Tensor:
        """The same as A."""
        return self.A(x)

    def AtA(self, x: Tensor) -> Tensor:
        """The normal map AT(A(x))."""
        return self.AT(self.A(x))

    def pinv(self, y: Tensor) -> Tensor:
        """Least-squares solution of least norm, A^+ y."""
        return cg(self.AtA, self.AT(y), steps=self.cg_steps, tol=self.cg_tol)

    def solve(self, b: Tensor, lam: float | Tensor) -> Tensor:
        """(A^T A + lam I)^-1 b for b [B, C, *S] and lam > 0, a float or [B]; ValueError for lam <= 0."""
        weight = damping(lam, b)
        return cg(lambda x: self.AtA(x) + weight * x, b, steps=self.cg_steps, tol=self.cg_tol)

    def __matmul__(self, other: "LinearOperator") -> "Compose":
        return Compose(self, other)


class Compose(LinearOperator):
    """outer after inner: A(x) = outer.A(inner.A(x)); written `outer @ inner`."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner

    def A(self, x: Tensor) -> Tensor:
        return self.outer.A(self.inner.A(x))

    def AT(self, y: Tensor) -> Tensor:
        return self.inner.AT(self.outer.AT(y))


class Scaled(LinearOperator):
    """A(x) = factor * op.A(x), as to give an operator unit norm; ValueError for a factor that is 0 or not finite."""

    def __init__(self, op: LinearOperator, factor: float) -> None:
        super().__init__()
        if not (math.isfinite(factor) and factor):
            raise ValueError(f"the factor must be a finite number other than 0, not {factor}")
        self.op, self.factor = op, factor

    def A(self, x: Tensor) -> Tensor:
        return self.factor * self.op.A(x)

    def AT(self, y: Tensor) -> Tensor:
        return self.factor * self.op.AT(y)

    def pinv(self, y: Tensor) -> Tensor:
        return self.op.pinv(y) / self.factor

    def solve(self, b: Tensor, lam: float | Tensor) -> Tensor:
        return self.op.solve(b, lam / self.factor**2) / self.factor**2


def spectral_norm(op: LinearOperator, shape: Sequence[int], steps: int = 200, tol: float = 1e-5) -> float:
    """Largest singular value of an operator on [1, *shape], shape = (C, *S), from below, by power iteration on A^T A.

    The start is always the same; it ends when the value grows by less than `tol` of itself, or after `steps` iterations. An
    operator with several different items in its batch has one value for all.
    """
    like = next(op.buffers(), torch.empty(0))
    start = 1 + torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))  # most imaging operators pass the mean best
    x, norm = start.to(dtype=like.dtype, device=like.device), 0.0
    for _ in range(steps):
        x = op.AtA(x / x.norm())
        previous, norm = norm, float(x.norm()) ** 0.5
        if norm - previous <= tol * norm:
            break
    return norm


class Identity(LinearOperator):
    """Everything is measured (denoising)."""

    def A(self, x: Tensor) -> Tensor:
        return x

    def AT(self, y: Tensor) -> Tensor:
        return y

    def pinv(self, y: Tensor) -> Tensor:
        return y

    def solve(self, b: Tensor, lam: float | Tensor) -> Tensor:
        return b / (1 + damping(lam, b))


class Mask(LinearOperator):
    """Pixels where mask is 1 are measured (inpainting); mask [B or 1, C or 1, *S] of 0 and 1, else ValueError."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", check_mask(mask))

    def A(self, x: Tensor) -> Tensor:
        return self.mask * x

    def AT(self, y: Tensor) -> Tensor:
        return self.mask * y

    def pinv(self, y: Tensor) -> Tensor:
        return self.mask * y

    def solve(self, b: Tensor, lam: float | Tensor) -> Tensor:
        return b / (self.mask + damping(lam, b))


def check_mask(mask: Tensor) -> Tensor:
    """The mask as a floating tensor [B or 1, C or 1, *S]; ValueError when it is not of that shape or not all 0 and 1."""
    if mask.ndim < 3:
        raise ValueError(f"a mask must be [B or 1, C or 1, *S], not of shape {list(mask.shape)}; add the first two axes")
    value = mask if mask.is_floating_point() else mask.to(torch.get_default_dtype())
    if not bool(((value == 0) | (value == 1)).all()):
        raise ValueError("a mask must hold only 0 (not measured) and 1 (measured)")
    return value

"""Gaussian data, for which every denoiser, ODE solution and posterior is known: the measuring stick of these tests."""

import torch
from torch import Tensor

F64 = torch.float64


def rotation(size: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=F64))[0]


class Gaussian16:
    """x0 ~ N(.3, Q diag(.5^i + .001) Q^T) in `size` dimensions; states [B, ..., size]."""

    def __init__(self, seed: int = 0, size: int = 16) -> None:
        self.size = size
        self.q = rotation(size, torch.Generator().manual_seed(seed))
        self.var = 0.5 ** torch.arange(size, dtype=F64) + 0.001
        self.mu = torch.full((size,), 0.3, dtype=F64)
        self.cov = self.q @ torch.diag(self.var) @ self.q.T

    def spectral(self, values: Tensor) -> Tensor:
        return self.q @ torch.diag(values) @ self.q.T

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """The exact E[x0 | x]."""
        mu = self.mu.to(x.dtype)
        return mu + (x - mu) @ self.spectral(self.var / (self.var + sigma**2)).to(x.dtype)

    def ode(self, x: Tensor, start: float, stop: float) -> Tensor:
        """The exact solution of the probability-flow ODE."""
        return self.mu + (x - self.mu) @ self.spectral(((self.var + stop**2) / (self.var + start**2)).sqrt())


class Rows:
    """An operator with orthonormal rows [m, n], or any matrix, by dense algebra."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def A(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T.to(x.dtype)

    def AT(self, y: Tensor) -> Tensor:
        return y @ self.matrix.to(y.dtype)

    def pinv(self, y: Tensor) -> Tensor:
        return y @ torch.linalg.pinv(self.matrix).T.to(y.dtype)

    def solve(self, b: Tensor, lam: float) -> Tensor:
        eye = torch.eye(self.matrix.shape[1], dtype=F64)
        return b @ torch.linalg.inv(self.matrix.T @ self.matrix + lam * eye).to(b.dtype)


def posterior(mu: Tensor, cov: Tensor, matrix: Tensor, y: Tensor, noise_sd: float) -> tuple[Tensor, Tensor]:
    """Exact mean and covariance of x0 given y = A x0 + noise."""
    gain = cov @ matrix.T @ torch.linalg.inv(matrix @ cov @ matrix.T + noise_sd**2 * torch.eye(len(matrix), dtype=F64))
    return mu + gain @ (y - matrix @ mu), cov - gain @ matrix @ cov


def law(sample, mean: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """The exact mean and covariance that an affine sampler makes of a start N(mean, spread spread^T).

    sample(x [B, 1, n], noise) -> [B, 1, n]. Each source of randomness, the start and every draw, is excited alone by unit vectors
    in a batch, so nothing is left to chance.
    """
    size, draws = len(mean), 0

    def silent(like: Tensor) -> Tensor:
        nonlocal draws
        draws += 1
        return torch.zeros_like(like)

    centre = sample(mean[None, None], silent)[0, 0]
    count, k = draws, 0

    def excite(like: Tensor) -> Tensor:
        nonlocal k
        k += 1
        unit = torch.zeros_like(like)
        unit[k * size : (k + 1) * size, 0] = torch.eye(size, dtype=like.dtype)
        return unit

    start = mean.repeat((1 + count) * size, 1, 1)
    start[:size, 0] += spread.T
    response = sample(start, excite)[:, 0] - centre
    return centre, response.T @ response


def cov_error(cov: Tensor, truth: Tensor) -> float:
    return float((cov - truth).norm() / truth.norm())


def seeded(seed: int):
    """A noise source of one stream for a whole batch: cheap Monte Carlo."""
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype)

"""Sigma grids for sampling and sigma distributions for training, in the coordinate x = x0 + sigma n.

A grid is a plain list of n + 1 falling Python floats whose last value is 0: a sampler takes one step between each pair.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SigmaDistribution = Callable[[int, torch.Generator], Tensor]  # (batch, generator) -> sigma [B]


def _check(steps: int, low: float, high: float) -> None:
    if steps < 1:
        raise ValueError(f"a grid needs at least one step, not {steps}")
    if not 0 < low <= high:
        raise ValueError(f"a grid needs 0 < low <= high, not low={low}, high={high}")


def karras(steps: int, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> list[float]:
    """Grid that is even in sigma^(1/rho), dense at low noise (Karras et al. 2022, eq. 5)."""
    _check(steps, low, high)
    top, bottom = high ** (1 / rho), low ** (1 / rho)
    return [(top + _fraction(i, steps) * (bottom - top)) ** rho for i in range(steps)] + [0.0]


def log_snr(steps: int, low: float = 0.002, high: float = 80.0) -> list[float]:
    """Grid that is even in ln sigma, so in log-SNR; also the VE geometric ladder (Song et al. 2021, sec. 3.4)."""
    _check(steps, low, high)
    return [math.exp(math.log(high) + _fraction(i, steps) * math.log(low / high)) for i in range(steps)] + [0.0]


def _fraction(i: int, steps: int) -> float:
    return i / (steps - 1) if steps > 1 else 0.0


def linear_alphas(train_steps: int = 1000, beta_start: float | None = None, beta_end: float | None = None) -> Tensor:
    """Cumulative alpha-bar [T] (float64) of the DDPM schedule, betas even (Ho et al. 2020, sec. 4).

    The default ends are 1e-4 and 0.02 at T = 1000 and are scaled by 1000 / T for another T.
    """
    scale = 1000 / train_steps
    start = 1e-4 * scale if beta_start is None else beta_start
    end = min(0.02 * scale, 0.999) if beta_end is None else beta_end
    return _cumulate(torch.linspace(start, end, train_steps, dtype=torch.float64))


def scaled_linear_alphas(train_steps: int = 1000, beta_start: float = 8.5e-4, beta_end: float = 0.012) -> Tensor:
    """Cumulative alpha-bar [T] (float64) with betas even in their square root (Rombach et al. 2022)."""
    roots = torch.linspace(beta_start**0.5, beta_end**0.5, train_steps, dtype=torch.float64)
    return _cumulate(roots**2)


def cosine_alphas(train_steps: int = 1000, offset: float = 0.008) -> Tensor:
    """Cumulative alpha-bar [T] (float64) of the cosine schedule, betas clipped at 0.999 (Nichol & Dhariwal 2021, eq. 17)."""
    t = torch.linspace(0, 1, train_steps + 1, dtype=torch.float64)
    bar = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return _cumulate((1 - bar[1:] / bar[:-1]).clamp(max=0.999))


def _cumulate(betas: Tensor) -> Tensor:
    return torch.cumprod(1 - betas, 0)


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    """Noise level sigma = sqrt((1 - alpha_bar) / alpha_bar) of each entry of a DDPM table [T], in the x0 + sigma n scale."""
    bar = alphas_cumprod.double()
    return torch.sqrt((1 - bar) / bar)


def from_alphas(alphas_cumprod: Tensor, steps: int | None = None) -> list[float]:
    """Grid of a DDPM table: all T levels, or `steps` of them evenly spaced from the last to the first; equal ones once."""
    table = sigmas_of(alphas_cumprod)
    count = len(table) if steps is None else steps
    if not 1 <= count <= len(table):
        raise ValueError(f"a table of {len(table)} levels cannot give {count} steps")
    index = torch.linspace(len(table) - 1, 0, count, dtype=torch.float64).round().long().tolist()
    return [float(table[i]) for i in dict.fromkeys(index)] + [0.0]


def time_travel(sigmas: Sequence[float], length: int, repeats: int) -> list[float]:
    """Grid that climbs back `length` steps and walks them again, `repeats` times in all (DDNM, Wang et al. 2023, Alg. 1).

    Samplers meet a rising pair by adding the missing noise. The steps that end in 0 are walked once more too, without a climb
    from 0, so the last block repeats before its final step.
    """
    if length < 1 or repeats < 1:
        raise ValueError("time travel needs length >= 1 and repeats >= 1")
    body, grid = list(sigmas[:-1]), [sigmas[0]]
    for start in range(0, len(body) - 1, length):
        block = body[start : start + length + 1]
        for lap in range(repeats):
            if lap:
                grid.append(block[0])
            grid.extend(block[1:])
    return [*grid, 0.0]


def lognormal(mean: float = -1.2, std: float = 1.2) -> SigmaDistribution:
    """ln sigma ~ N(mean, std^2) (Karras et al. 2022, table 1)."""

    def draw(batch: int, generator: torch.Generator) -> Tensor:
        return torch.exp(mean + std * torch.randn(batch, generator=generator))

    return draw


def loguniform(low: float, high: float) -> SigmaDistribution:
    """ln sigma uniform between ln low and ln high (the continuous VE objective, Song et al. 2021, eq. 7)."""
    _check(1, low, high)

    def draw(batch: int, generator: torch.Generator) -> Tensor:
        return low * (high / low) ** torch.rand(batch, generator=generator)

    return draw


def discrete(sigmas: Sequence[float]) -> SigmaDistribution:
    """Uniform over the levels of a table or grid; zeros are left out (the DDPM and NCSN objectives)."""
    levels = torch.tensor([s for s in sigmas if s > 0], dtype=torch.float32)

    def draw(batch: int, generator: torch.Generator) -> Tensor:
        return levels[torch.randint(len(levels), (batch,), generator=generator)]

    return draw


def mixture(first: SigmaDistribution, second: SigmaDistribution, share: float) -> SigmaDistribution:
    """Draws from `second` with probability `share`, else from `first`: a few very noisy items keep a prior valid there."""
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], not {share}")

    def draw(batch: int, generator: torch.Generator) -> Tensor:
        pick = torch.rand(batch, generator=generator) < share
        return torch.where(pick, second(batch, generator), first(batch, generator))

    return draw

"""The walk that all samplers share: steps down a grid, noise up it, a projection and a callback after each."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .noise import NoiseSource, require

Project = Callable[[Tensor, float], Tensor]  # (state [B, C, *S], its sigma) -> state
Callback = Callable[[int, float, Tensor, Tensor], None]  # (step, sigma of the state, state, estimate of x0)
Step = Callable[[Tensor, float, float], tuple[Tensor, Tensor]]  # (x, sigma, next sigma) -> (x at next sigma, x0 estimate)


def check_grid(sigmas: Sequence[float]) -> None:
    """Raises ValueError for a grid that no sampler can walk."""
    if len(sigmas) < 2:
        raise ValueError(f"a grid needs at least two levels, not {len(sigmas)}")
    if not all(0 < s < math.inf for s in sigmas[:-1]) or not 0 <= sigmas[-1] < math.inf:
        raise ValueError("the levels of a grid must be positive and finite; only the last may be 0")
    if any(s == t for s, t in pairwise(sigmas)):
        raise ValueError("a grid must not repeat a level in a row; drop the duplicates")


@torch.no_grad()
def march(
    step: Step,
    x: Tensor,
    sigmas: Sequence[float],
    noise: NoiseSource | None,
    project: Project | None,
    callback: Callback | None,
) -> Tensor:
    """Takes `step` for each falling pair of the grid and adds the missing noise for each rising one (time travel).

    x [B, C, *S] at sigmas[0] -> the state at sigmas[-1]. After a rise the callback gets the estimate of the step before.
    """
    check_grid(sigmas)
    x0 = x
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        if target > sigma:
            x = x + math.sqrt(target**2 - sigma**2) * require(noise)(x)
        else:
            x, x0 = step(x, sigma, target)
        if project is not None:
            x = project(x, target)
        if callback is not None:
            callback(i, target, x, x0)
    return x

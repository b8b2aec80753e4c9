"""The probability-flow ODE by a Runge-Kutta pair that chooses its own steps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .denoiser import Denoise
from .march import Callback, Project, check_grid
from .noise import NoiseSource

# Dormand & Prince 1980, table 2: rows of a; the last row gives the result of order 5, and b - b* its error
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_ROWS = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


@torch.no_grad()
def adaptive(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> Tensor:
    """Dormand-Prince 5(4) in ln sigma from sigmas[0] to the last positive level, then the estimate there if the grid ends in 0.

    The levels between do not matter; `noise` is not used. Each item takes its own steps, so the result does not depend on the
    batch: an item is integrated in copies that fill the batch, which keeps conditions and data bound for each item valid, and a
    batch of B costs B times the time of B single items. The callback gets one item [1, C, *S] and counts its accepted steps.
    Raises ValueError where the denoiser's values are not finite, and for tolerances below the precision of the state.
    """
    check_grid(sigmas)
    if rtol <= 0 or atol <= 0:
        raise ValueError(f"tolerances must be positive, not rtol={rtol}, atol={atol}")
    stop = min(s for s in sigmas if s > 0)

    def single(item: int):
        def alone(function):
            return lambda v, s: function(v.expand_as(x), s)[item : item + 1]

        estimate, keep = alone(denoise), alone(project) if project else None
        out, x0, count = _integrate(estimate, x[item : item + 1], sigmas[0], stop, keep, callback, rtol, atol)
        if sigmas[-1] == 0:
            out = x0 if keep is None else keep(x0, 0.0)
            if callback is not None:
                callback(count, 0.0, out, x0)
        return out

    return torch.cat([single(item) for item in range(len(x))])


def _integrate(
    denoise: Denoise,
    x: Tensor,
    start: float,
    stop: float,
    project: Project | None,
    callback: Callback | None,
    rtol: float,
    atol: float,
) -> tuple[Tensor, Tensor, int]:
    """One item [1, C, *S] from start to stop -> its state, the estimate there, the number of accepted steps."""
    u, end, count = math.log(start), math.log(stop), 0
    h, x0 = -0.1, denoise(x, start)
    while u > end:
        last = u + 1.01 * h <= end
        h = end - u if last else h
        trial, trial_x0, error = _attempt(denoise, x, x0, u, h)
        scale = atol + rtol * torch.maximum(x.abs(), trial.abs())
        size = float((error / scale).pow(2).mean().sqrt())
        if not math.isfinite(size):
            raise ValueError("the denoiser returned values that are not finite; check its weights, input range and precision")
        if size <= 1:
            u, x, x0 = (end if last else u + h), trial, trial_x0
            if project is not None:
                x = project(x, math.exp(u))
                x0 = denoise(x, math.exp(u))
            if callback is not None:
                callback(count, math.exp(u), x, x0)
            count += 1
        h *= min(5.0, max(0.2, 0.9 * max(size, 1e-10) ** -0.2))
        if u > end and abs(h) < 1e-3:
            raise ValueError(f"tolerances {rtol} and {atol} are below the precision of {x.dtype}: loosen them or use float64")
    return x, x0, count


def _attempt(denoise: Denoise, x: Tensor, x0: Tensor, u: float, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """A step h of dx / du = x - D(x, e^u) -> the new state, the estimate there, the local error."""
    slopes = [x - x0]
    for node, row in zip(_NODES[1:], _ROWS[1:], strict=True):
        state = x + h * sum(a * k for a, k in zip(row, slopes, strict=True) if a)
        x0 = denoise(state, math.exp(u + node * h))
        slopes.append(state - x0)
    return state, x0, h * sum(e * k for e, k in zip(_ERROR, slopes, strict=True) if e)

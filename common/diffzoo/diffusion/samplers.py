"""All samplers, in one place. Every one has the same signature, so a config swaps them in one line:

sampler(denoise, x, sigmas, *, noise=None, project=None, callback=None, <own options>) -> Tensor

- denoise(x, sigma) -> x0 estimate; x [B, C, *S] is the state at sigmas[0]; the result is the state at sigmas[-1].
- sigmas falls and ends in 0; where it rises, the missing noise is added (`schedule.time_travel`). `invert` alone takes a rising
  grid. A grid that ends above 0 is walked as far as it goes.
- noise is a `NoiseSource`; a sampler that draws raises ValueError without one.
- project(x, sigma) -> x acts on the state after every update, also the last (POCS, RePaint, box renewal).
- callback(i, sigma, x, x0) follows each step: the level and the state that it reached, and the estimate that it used.
- Bad grids and options raise ValueError. No gradients are recorded; a rule that needs them turns them on for itself.
"""

import inspect
from collections.abc import Callable
from functools import partial

from torch import Tensor

from .adaptive import adaptive
from .choices import choice
from .deterministic import dpmpp_2m, euler, heun, invert, plug_and_play, posterior_mean, unipc
from .noise import noised
from .stochastic import ancestral, annealed_langevin, euler_maruyama, predictor_corrector, renoise

__all__ = [
    "adaptive",
    "ancestral",
    "annealed_langevin",
    "dpmpp_2m",
    "euler",
    "euler_maruyama",
    "heun",
    "invert",
    "named",
    "noised",
    "plug_and_play",
    "posterior_mean",
    "predictor_corrector",
    "renoise",
    "unipc",
]

SAMPLERS = {
    sampler.__name__: sampler
    for sampler in (
        *(adaptive, ancestral, annealed_langevin, dpmpp_2m, euler, euler_maruyama, heun, plug_and_play, predictor_corrector),
        *(posterior_mean, renoise, unipc),
    )
} | {"ddim": ancestral, "dpmpp_2m_sde": partial(dpmpp_2m, eta=1.0)}


def named(name: str, **options) -> Callable[..., Tensor]:
    """The sampler of that name with its own options set; those that it does not take are for other samplers, and left out.

    "ddim" is the ancestral sampler, whose `eta` is the share of fresh noise; "dpmpp_2m_sde" is `dpmpp_2m` with eta = 1. Raises
    ValueError for a name that is not known, and for an option that no sampler takes.
    """
    sampler = choice("sampler", name, SAMPLERS)
    return partial(sampler, **_taken(sampler, options))


def _taken(sampler: Callable[..., Tensor], options: dict) -> dict:
    every = {key for sampler in SAMPLERS.values() for key in inspect.signature(sampler).parameters}
    if unknown := sorted(options.keys() - every):
        raise ValueError(f"no sampler takes the option {unknown[0]!r}")
    own, fixed = inspect.signature(sampler).parameters, getattr(sampler, "keywords", {})
    return {key: value for key, value in options.items() if key in own and key not in fixed}

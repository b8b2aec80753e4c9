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

from .adaptive import adaptive
from .deterministic import dpmpp_2m, euler, heun, invert, plug_and_play, unipc
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
    "noised",
    "plug_and_play",
    "predictor_corrector",
    "renoise",
    "unipc",
]

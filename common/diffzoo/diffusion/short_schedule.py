"""The short schedule of FGDM: a few large steps of the VP diffusion that never hide the low frequencies of an image.

Denoising diffusion GANs (Xiao et al. 2022, app. B) take T steps of
alpha_bar(t) = exp(-t^2 (beta_max - beta_min) / 2 - t beta_min) at t_k = 0.999 k / T + 0.001, relative to that of t_0, with
beta_max = 20. FGDM (Li et al. 2024) takes beta_max = 1, so that the image's share sqrt(alpha_bar) ends at 0.76.
"""

import math

FIRST = 0.001  # time of step 0, which has no noise


def short_alphas(steps: int = 4, beta_max: float = 1.0, beta_min: float = 0.1) -> list[float]:
    """alpha_bar of the steps 0 to `steps`; ValueError for fewer than one step or betas that are not 0 < beta_min <= beta_max."""
    if steps < 1 or not 0 < beta_min <= beta_max:
        raise ValueError(f"a schedule needs steps >= 1 and 0 < beta_min <= beta_max, not {steps}, {beta_min} and {beta_max}")
    times = [(1 - FIRST) * k / steps + FIRST for k in range(steps + 1)]
    exponents = [0.5 * t * t * (beta_max - beta_min) + t * beta_min for t in times]
    return [math.exp(exponents[0] - exponent) for exponent in exponents]


def short_levels(steps: int = 4, beta_max: float = 1.0, beta_min: float = 0.1, unit: float = 1.0) -> list[float]:
    """Grid of `steps` falling levels sigma = unit sqrt(1 / alpha_bar - 1) and then 0, of x = x0 + sigma n: from 0.856 by default.

    unit: what 1 of the schedule's images is in ours, as theirs have a range of [0, 1]. Raises ValueError unless it is positive.
    """
    if not unit > 0:
        raise ValueError(f"the unit of a schedule must be positive, not {unit}")
    return [unit * math.sqrt(1 / bar - 1) for bar in reversed(short_alphas(steps, beta_max, beta_min)[1:])] + [0.0]

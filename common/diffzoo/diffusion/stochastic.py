"""Samplers that put noise back: ancestral, re-noising, reverse SDEs, predictor-corrector, annealed Langevin."""

import math
from collections.abc import Sequence

from torch import Tensor

from .denoiser import Denoise, expand_as
from .march import Callback, Project, march
from .noise import NoiseSource, require


def ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    eta: float = 1.0,
) -> Tensor:
    """DDPM ancestral sampling at eta = 1 (Ho et al. 2020, eq. 7), DDIM at other eta (Song et al. 2021, eq. 16).

    A step s -> t adds noise of standard deviation eta t sqrt(1 - t^2 / s^2) and walks deterministically to what is left of t.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], not {eta}")

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        return _redraw(denoise, x, s, t, eta * t * math.sqrt(1 - (t / s) ** 2), noise)

    return march(step, x, sigmas, noise, project, callback)


def renoise(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    fresh: float = 1.0,
) -> Tensor:
    """x0 + t (sqrt(1 - fresh) n_hat + sqrt(fresh) n), n_hat = (x - x0) / s: a fixed share of the noise is new at every step.

    fresh = eta^2 is DDNM's rule (Wang et al. 2023, Alg. 1, eta = .85), fresh = zeta DiffPIR's (Zhu et al. 2023, Alg. 1), fresh =
    1 multistep consistency sampling. On a fine grid fresh > 0 mixes faster than any SDE: it is for few steps and data rules, and
    does not keep the variance of an unconditional sample.
    """
    if not 0 <= fresh <= 1:
        raise ValueError(f"fresh must lie in [0, 1], not {fresh}")

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        return _redraw(denoise, x, s, t, math.sqrt(fresh) * t, noise)

    return march(step, x, sigmas, noise, project, callback)


def _redraw(denoise: Denoise, x: Tensor, s: float, t: float, up: float, noise: NoiseSource | None) -> tuple[Tensor, Tensor]:
    x0 = denoise(x, s)
    down = math.sqrt(max(t**2 - up**2, 0.0))
    x = x0 + (down / s) * (x - x0)
    return (x + up * require(noise)(x) if up else x), x0


def euler_maruyama(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    sde: str = "ve",
) -> Tensor:
    """Euler-Maruyama on the reverse SDE (Song et al. 2021, eq. 6); the step to 0 returns the estimate, without noise.

    `sde` says in whose coordinates the step is linear: "ve", "vp" or "sub_vp". x stays x0 + sigma n; a step scales it by alpha,
    steps, and scales back. Drift and noise use their exact integrals over the step, so "ve" is the reverse-diffusion predictor.
    """
    if sde not in ("ve", "vp", "sub_vp"):
        raise ValueError(f"sde must be 've', 'vp' or 'sub_vp', not {sde!r}")

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        x0 = denoise(x, s)
        return (_reverse(x, x0, s, t, sde, noise) if t else x0), x0

    return march(step, x, sigmas, noise, project, callback)


def _alpha(sigma: float, sde: str) -> float:
    if sde == "ve":
        return 1.0
    return 1 / math.sqrt(1 + sigma**2) if sde == "vp" else 2 / (sigma + math.sqrt(sigma**2 + 4))


def _reverse(x: Tensor, x0: Tensor, s: float, t: float, sde: str, noise: NoiseSource | None) -> Tensor:
    here, there = _alpha(s, sde), _alpha(t, sde)
    beta = 2 * math.log(there / here)  # the integral of beta over the step
    g2 = {"ve": s**2 - t**2, "vp": beta, "sub_vp": beta * (1 - here**4)}[sde]
    mean = (1 + beta / 2) * here * x + g2 / (here * s**2) * (x0 - x)
    return (mean + math.sqrt(g2) * require(noise)(x)) / there


def predictor_corrector(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    snr: float = 0.16,
    corrections: int = 1,
    corrector_first: bool = False,
) -> Tensor:
    """Reverse-diffusion predictor with Langevin corrector of the VE-SDE (Song et al. 2021, Alg. 2); 1 + corrections calls a step.

    `corrector_first` corrects at the level that a step leaves (as the released code does) instead of the one that it reaches.
    The Langevin step 2 (snr |n| / |score|)^2 is taken for each item by its own norm over channels and pixels: for complex data
    give real and imaginary parts as two channels (one norm) or as two items (a norm each). `project` acts after each half
    step. The step to 0 returns the noise-free mean.
    """
    if snr <= 0 or corrections < 0:
        raise ValueError(f"needs snr > 0 and corrections >= 0, not {snr} and {corrections}")

    def keep(x: Tensor, sigma: float) -> Tensor:
        return x if project is None else project(x, sigma)

    def step(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        if corrector_first:
            for _ in range(corrections):
                x = keep(_langevin(x, denoise(x, s), s, snr, noise), s)
        x0 = denoise(x, s)
        if t == 0:
            return x0, x0
        x = _reverse(x, x0, s, t, "ve", noise)
        if not corrector_first:
            for _ in range(corrections):
                x = keep(x, t)
                x = _langevin(x, denoise(x, t), t, snr, noise)
        return x, x0

    return march(step, x, sigmas, noise, project, callback)


def _langevin(x: Tensor, x0: Tensor, sigma: float, snr: float, noise: NoiseSource | None) -> Tensor:
    score, n = (x0 - x) / sigma**2, require(noise)(x)
    size = score.flatten(1).norm(dim=1).clamp(min=1e-12)
    step = expand_as(2 * (snr * n.flatten(1).norm(dim=1) / size) ** 2, x)
    return x + step * score + (2 * step).sqrt() * n


def annealed_langevin(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: NoiseSource | None = None,
    project: Project | None = None,
    callback: Callback | None = None,
    step: float = 0.3,
    inner: int = 3,
) -> Tensor:
    """`inner` Langevin steps at each positive level and a last denoising (Song & Ermon 2019, Alg. 1; 2020, sec. 3).

    `step` is relative: x <- x + step sigma^2 score + sqrt(2 step) sigma n, so step = e0 / sigma_L^2 for a published e0. It must
    stay below 2 for the prior alone, and below 2 / (1 + |A|^2) with the likelihood of `posterior.csgm`.
    """
    if not 0 < step < 2 or inner < 1:
        raise ValueError(f"needs 0 < step < 2 (beyond it Langevin steps diverge) and inner >= 1, not {step} and {inner}")

    def level(x: Tensor, s: float, t: float) -> tuple[Tensor, Tensor]:
        for k in range(inner):
            if k and project is not None:
                x = project(x, s)
            x0 = denoise(x, s)
            x = x + step * (x0 - x) + math.sqrt(2 * step) * s * require(noise)(x)
        if t == 0:
            x = x0 = denoise(x if project is None else project(x, s), s)
        return x, x0

    return march(level, x, sigmas, noise, project, callback)

"""Where a diffusion model disagrees with its data: the divergence of its reverse transition from the true posterior, by site.

For x_t = sqrt(a_t) x0 + sqrt(1 - a_t) n of a DDPM table a = alpha_bar, q(x_(t-1) | x_t, x0) and p(x_(t-1) | x_t) are Gaussians
of one variance (Ho et al. 2020, eq. 7), whose means differ by the estimate of x0 alone. BAnoDDPM (Pinaya et al. 2022) marks the
sites where they differ most, and draws those anew.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .denoiser import Denoise
from .noise import NoiseSource
from .schedule import sigmas_of


def kl_factor(alphas_cumprod: Tensor, t: int) -> float:
    """What KL(q || p) at time index t of a table [T] is per squared error of x0: (SNR(t - 1) - SNR(t)) / 2, in nats.

    That is a_(t-1) beta_t / (2 (1 - a_t) (1 - a_(t-1))); per squared error of the noise it is beta_t^2 / (2 s_t^2 alpha_t (1 -
    a_t)) with the posterior variance s_t^2. Raises ValueError for t outside 1 to T - 1: at 0 the posterior has no variance.
    """
    if not 1 <= t < len(alphas_cumprod):
        raise ValueError(f"a time index lies between 1 and {len(alphas_cumprod) - 1}, not at {t}")
    now, before = (float(alphas_cumprod[k]) for k in (t, t - 1))
    return (before / (1 - before) - now / (1 - now)) / 2


def transition_kl(
    denoise: Denoise,
    x0: Tensor,
    alphas_cumprod: Tensor,
    times: Sequence[int],
    noise: NoiseSource,
    watch: Callable[[], None] | None = None,
) -> Tensor:
    """Divergence by site, [B, 1, *S], of x0 [B, C, *S], in nats: the mean over channels and times, fresh noise at each time.

    denoise takes x0 + sigma n. Raises ValueError for no time, or one out of the table.
    """
    if not times:
        raise ValueError("the divergence needs one time or more")
    sigmas, total = sigmas_of(alphas_cumprod), torch.zeros_like(x0[:, :1])
    for t in times:
        factor, sigma = kl_factor(alphas_cumprod, t), float(sigmas[t])
        error = denoise(x0 + sigma * noise(x0), sigma) - x0
        total = total + factor * error.square().mean(1, keepdim=True)
        if watch is not None:
            watch()
    return total / len(times)


def known(denoise: Denoise, x0: Tensor, free: Tensor) -> Denoise:
    """A denoiser that knows x0 [B, C, *S] wherever `free` [B, 1, *S] is not set: so a sampler draws the free sites alone.

    With the exact x0 as its estimate, an ancestral step draws q(x_(t-1) | x_t, x0), so a known site has the right level of noise
    at every step; and it ends at x0.
    """
    return lambda x, sigma: torch.where(free, denoise(x, sigma), x0)

"""Editing an image by partial diffusion: noise it to a level, then denoise (SDEdit, Meng et al. 2022; AnoDDPM)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Noise, noised
from diffzoo.diffusion.schedule import from_alphas, log_snr


@dataclass(frozen=True)
class Edit:
    """edit(denoise, x [B, C, *S], seeds, callback) -> x as the prior would have it, [B, C, *S].

    sigmas: a grid from the level of the noise to 0; one that is empty changes nothing. noise: from one seed an item to a noise
    source (`Gaussian`, `Simplex`), which serves the start and every step of a stochastic sampler: they must be of the kind that
    the network was trained on.
    """

    sampler: Callable[..., Tensor]
    sigmas: Sequence[float]
    noise: Noise

    @property
    def steps(self) -> int:
        """Network calls of a first-order sampler, 0 for no edit."""
        return max(0, len(self.sigmas) - 1)

    def __call__(self, denoise: Denoise, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        if not self.steps:
            return x.clone()
        noise = self.noise(seeds)
        return self.sampler(denoise, noised(x, self.sigmas[0], noise), self.sigmas, noise=noise, callback=callback)


def levels(top: float, steps: int, low: float = 0.02) -> list[float]:
    """Grid of `steps` levels, even in ln sigma, from `top` to min(low, top / 2) and then 0; empty for top = 0: no edit.

    Raises ValueError for a negative level or fewer than one step.
    """
    if top < 0:
        raise ValueError(f"the noise level is 0 (no edit) or more, not {top}")
    return log_snr(steps, min(low, top / 2), top) if top else []


def table_levels(alphas_cumprod: Tensor, count: int, scale: float = 1.0) -> list[float]:
    """Grid of the `count` lowest levels of a DDPM table alpha_bar [T], each times `scale`, and then 0; empty for count = 0.

    What a paper calls noising to lambda = count and going back step by step. `scale` carries its unit of intensity and of noise
    over to ours. Raises ValueError for a count beyond the table.
    """
    if not 0 <= count <= len(alphas_cumprod):
        raise ValueError(f"lambda lies between 0 and the table's {len(alphas_cumprod)} levels, not at {count}")
    return [scale * level for level in from_alphas(alphas_cumprod)[-count - 1 :]] if count else []

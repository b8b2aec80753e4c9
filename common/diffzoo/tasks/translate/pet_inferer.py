"""PET of full counts by draws of a conditional diffusion, on request held to the measured PET within the sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.imaging.geometry import plain
from diffzoo.imaging.guide import low_pass
from diffzoo.spaces import around
from diffzoo.tasks.translate.conditions import conditions
from diffzoo.tasks.translate.inferer import TOP, Slices, Translate
from diffzoo.tasks.translate.pet import centre_of

FLOOR = 0.02  # of the cortex: below it the noise of the data is no smaller
SMOOTH = 1.5  # pixels, standard deviation: of the image from which the data's noise is told


@dataclass(frozen=True)
class Measured:
    """A measured image y and the standard deviation of its noise, both [B, 1, H, W]."""

    y: Tensor
    sd: Tensor


class DenoisePET(Translate):
    """`Translate` to a PET of full counts, of the channels PET and T1, whose network knows what the smoothed PET lacks.

    centre: full width in pixels of the filter that makes the centre (`pet.centre_of`), that of the training. estimate: what is
    given as the mean of several draws: their mean ("draws"), or one call of the denoiser at the first level ("call"), which is
    the mean of all draws as far as the network knows it; not where the sampler is held to the data.
    Where the case is "consistent" [1, 1], each estimate of the sampler is drawn to the measured PET by its noise, "noise" [1, 1],
    times `trust`: the network then need not be told of it, and fits other scanners and doses (Gong et al. 2024).
    """

    conditions = (*Translate.conditions, "noise", "consistent")

    def __init__(self, *, trust: float = 1.0, centre: float = 3.0, estimate: str = "draws", **options) -> None:
        super().__init__(**options)
        if not trust > 0 or centre < 0 or estimate not in ("draws", "call"):
            raise ValueError(f"needs trust > 0, centre >= 0 and draws or call, not {trust}, {centre} and {estimate!r}")
        self.trust, self.centre, self.one_call, self.amount = trust, centre, estimate == "call", None

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: nn.Module, **known: Tensor) -> Tensor:
        consistent = bool(plain(known["consistent"]).flatten()[0] > 0)
        self.amount = float(plain(known["noise"]).flatten()[0]) * self.trust if consistent else None
        return super().__call__(inputs, network, **known)

    def _drawn(self, denoiser: Denoiser, batch: Slices, index: Sequence[int], counter: Callback) -> Tensor:
        """[B, 1 or 3, H, W] of a batch of slices."""
        images = super()._drawn(denoiser, batch, index, counter)
        if images.shape[1] == 1 or not self.one_call or self.amount is not None:
            return images
        noise = Gaussian([stream(self.seed, 0) if self.shared_noise else stream(self.seed, 0, i) for i in index])
        clean = torch.zeros_like(images[:, :1])
        mean = self.bound(denoiser, batch, clean)(self.sigmas[0] * noise(clean), self.sigmas[0])
        return torch.cat([mean, images[:, 1:]], 1)

    def bound(self, denoiser: Denoiser, batch: Slices, clean: Tensor) -> Denoise:
        """The denoiser of a batch about its centre, held to the data where the case asks for it."""
        y, known = batch.image[:, :1], conditions(batch.image, batch.given, batch.wanted, batch.inside, batch.position)
        centre = centre_of(y, batch.given[:, :1], batch.inside, self.centre)
        prior = around(denoiser.bind(**known), centre)

        def estimate(x: Tensor, sigma: float) -> Tensor:
            return prior(x, sigma).clamp(0, TOP) * batch.inside

        if self.amount is None:
            return estimate
        sd = self.amount * low_pass(y, SMOOTH).clamp(min=FLOOR).sqrt()
        return partial(consistent, estimate, Measured(y, sd), inside=batch.inside)


def consistent(denoise: Denoise, measured: Measured, x: Tensor, sigma: float, *, inside: Tensor | float = 1.0) -> Tensor:
    """The estimate [B, 1, H, W] of x drawn to the data: x0 + k (y - x0), k = sigma^2 / (sigma^2 + sd^2).

    The mean of two Gaussian sources: the prior's estimate, as unsure as the noise of x, and data y with noise of sd (Gong et al.
    2024, a Gaussian data model). sd -> 0 gives y, sd -> infinity the prior.
    """
    x0 = denoise(x, sigma)
    gain = sigma**2 / (sigma**2 + measured.sd**2)
    return x0 + gain * (measured.y - x0) * inside

"""Anomalies in the latents of an autoencoder: mark the sites that the prior would not have there, and draw those anew."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Noise, noised
from diffzoo.diffusion.transition import known, transition_kl
from diffzoo.imaging.heads import MODALITIES
from diffzoo.networks.composite import site_shares
from diffzoo.spaces import Space
from diffzoo.tasks.anomaly.inferer import FindAnomalies


class LatentPrior(NamedTuple):
    """What an edit in latents is handed in place of a denoiser: denoiser of latents, their space, and what the slices show."""

    denoise: Denoise
    space: Space
    outline: Tensor  # share of tissue [B, 1, *L] of each site, in [0, 1]
    contrast: Tensor  # T1, T2 or FLAIR, one-hot, [B, 3]


@dataclass(frozen=True)
class LatentHeal:
    """edit(prior, x [B, 1, H, W], seeds, callback) -> x with the sites that the prior disagrees with drawn anew, [B, 1, H, W].

    times: of the table `alphas_cumprod` [T], at which a site's divergence is taken; their mean over `draws` of noise is smoothed
    over 3 x 3 sites of tissue with `smooth`. A site of tissue is marked where it exceeds `threshold`, one for all or one for each
    of T1, T2 and FLAIR, which healthy people gave,
    and so is what lies within `dilation` sites; the marked ones go from the first of `sigmas` back to 0 by `sampler`, with the
    others known. The image changes at marked sites alone, with soft edges between them (bilinear); the others keep their bits.
    """

    sampler: Callable[..., Tensor]
    sigmas: Sequence[float]
    alphas_cumprod: Tensor
    times: Sequence[int]
    threshold: float | Sequence[float]
    noise: Noise
    draws: int = 1
    dilation: int = 1
    smooth: bool = True

    @property
    def steps(self) -> int:
        """Network calls a slice."""
        return self.draws * len(self.times) + max(0, len(self.sigmas) - 1)

    def __call__(self, prior: LatentPrior, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        noise, z = self.noise(seeds), prior.space.encode(x)
        marked = self.marked(self.divergence(prior, z, noise, callback), prior)
        if not marked.any() or len(self.sigmas) < 2:
            return x.clone()
        denoise = known(prior.denoise, z, marked)
        drawn = self.sampler(denoise, noised(z, self.sigmas[0], noise), self.sigmas, noise=noise, callback=callback)
        healed = prior.space.decode(torch.where(marked, drawn, z), x.shape[2:])
        return torch.lerp(x, healed, site_weights(marked, x.shape[2:]))

    def divergence(self, prior: LatentPrior, z: Tensor, noise, callback: Callback | None = None) -> Tensor:
        """Mean divergence [B, 1, *L] of sites of latents z [B, C, *L], 0 without tissue; noise: a source for these items."""
        watch = None if callback is None else lambda: callback(0, 0.0, z, z)
        times = [t for _ in range(self.draws) for t in self.times]
        divergence = transition_kl(prior.denoise, z, self.alphas_cumprod, times, noise, watch)
        tissue = (prior.outline > 0).to(divergence)
        if not self.smooth:
            return divergence * tissue
        mean, share = (F.avg_pool2d(part, 3, 1, 1) for part in (divergence * tissue, tissue))
        return mean / share.clamp(min=1e-6) * tissue

    def marked(self, divergence: Tensor, prior: LatentPrior) -> Tensor:
        """Sites bool [B, 1, *L] to draw anew."""
        marked = (self.above(divergence, prior) & (prior.outline > 0)).float()
        size = 2 * self.dilation + 1
        return F.max_pool2d(marked, size, 1, self.dilation) > 0

    def above(self, divergence: Tensor, prior: LatentPrior) -> Tensor:
        """Sites bool [B, 1, *L] whose divergence exceeds the threshold of their slice."""
        levels = torch.as_tensor(self.threshold, dtype=divergence.dtype, device=divergence.device)
        limit = prior.contrast.to(levels) @ levels.expand(prior.contrast.shape[1])
        return divergence > limit.reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class Divergence:
    """edit(prior, x, seeds, callback) -> x plus the divergence of each site (bilinear), for a residual that shows it alone."""

    heal: LatentHeal

    @property
    def steps(self) -> int:
        """Network calls a slice."""
        return self.heal.draws * len(self.heal.times)

    def __call__(self, prior: LatentPrior, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        divergence = self.heal.divergence(prior, prior.space.encode(x), self.heal.noise(seeds), callback)
        return x + upsampled(divergence, x.shape[2:])


@dataclass(frozen=True)
class Reconstructed:
    """edit(prior, x, seeds, callback) -> x by way of its latents as they are: what the autoencoder alone changes."""

    @property
    def steps(self) -> int:
        """Network calls a slice: none of the diffusion network."""
        return 0

    def __call__(self, prior: LatentPrior, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        return prior.space.decode(prior.space.encode(x), x.shape[2:])


class FindInLatents(FindAnomalies):
    """`FindAnomalies` by an edit in latents of a `networks.composite.LatentDiffusion`, told the outline as concat."""

    def conditioned(self, denoiser: Denoiser, facts: Tensor, inside: Tensor) -> LatentPrior:
        """The prior of some slices, given their vectors [B, E] and masks of tissue [B, 1, H, W]."""
        outline = site_shares(inside, denoiser.network.autoencoder.factor)
        contrast = facts[:, : len(MODALITIES)]
        return LatentPrior(denoiser.bind(vector=facts, concat=outline), denoiser.network.space, outline, contrast)


def site_weights(marked: Tensor, size: Sequence[int]) -> Tensor:
    """How much of a drawn image [B, 1, *size] shows: 1 inside marked sites [B, 1, *L], less towards sites that are not.

    It is 0 exactly wherever a voxel's own site is not marked.
    """
    own = marked.float().repeat_interleave(factor := _factor(marked, size), 2).repeat_interleave(factor, 3)
    return upsampled(marked.float(), size) * own[..., : size[0], : size[1]]


def upsampled(sites: Tensor, size: Sequence[int]) -> Tensor:
    """Values of sites [B, 1, *L], bilinear, on the pixels that they stand for, [B, 1, *size]."""
    factor = _factor(sites, size)
    values = F.interpolate(sites, scale_factor=factor, mode="bilinear", align_corners=False)
    return values[..., : size[0], : size[1]]


def _factor(sites: Tensor, size: Sequence[int]) -> int:
    """Pixels along a site."""
    return -(-size[0] // sites.shape[2])


def time_indices(text: int | str) -> list[int]:
    """Times from a parameter: "400,500,600", or one number. Raises ValueError for what is no whole number."""
    return [int(part) for part in str(text).split(",")]

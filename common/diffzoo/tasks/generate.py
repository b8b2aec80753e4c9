"""Images out of nothing: label maps drawn in the latent space of their autoencoder, and images painted on label maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.guidance import cfg
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.errors import InputError
from diffzoo.networks.composite import LatentDiffusion, condition_tokens

STYLE = 1  # stream of the numbers that a style is drawn from, beside those of the maps


@dataclass(frozen=True)
class DrawMaps:
    """draw(network, values [B, n], seeds) -> soft label maps [B, K, *size], a partition of unity (Fernandez et al. 2022).

    values: what is asked of each map (`training.latents.label_conditions`), NaN where it is left open; seeds: one an item, whose
    map does not depend on the others. The sampler starts from noise of sigmas[0] in latents [B, C, *ceil(size / factor)] and ends
    at sigmas[-1]. guidance: of classifier-free guidance, 1 for none. Raises InputError for values and seeds of unequal number.
    """

    precond: Precond
    sampler: Callable[..., Tensor]
    sigmas: Sequence[float]
    size: Sequence[int]
    guidance: float = 1.0

    @torch.no_grad()
    def __call__(
        self, network: LatentDiffusion, values: Tensor, seeds: Sequence[int], callback: Callback | None = None
    ) -> Tensor:
        if len(values) != len(seeds):
            raise InputError(f"{len(values)} maps are asked for, with {len(seeds)} seeds")
        network.eval()
        device, denoiser = network.scale.device, Denoiser(network, self.precond)
        tokens = condition_tokens(values.to(device))
        denoise = cfg(denoiser.bind(tokens=tokens), denoiser.bind(tokens=torch.zeros_like(tokens)), self.guidance)
        factor = network.autoencoder.factor
        sites = [-(-n // factor) for n in self.size]
        noise = Gaussian(seeds)
        start = torch.zeros(len(values), network.autoencoder.latent_channels, *sites, device=device)
        x = self.sampler(denoise, noise(start) * self.sigmas[0], self.sigmas, noise=noise, callback=callback)
        return network.space.decode(x, self.size)


def prior_styles(generator: nn.Module, seeds: Sequence[int]) -> Tensor:
    """Style codes [B, style_size] from the normal prior, one of each seed."""
    rows = [torch.randn(generator.style_size, generator=torch.Generator().manual_seed(stream(seed, STYLE))) for seed in seeds]
    return torch.stack(rows).to(next(generator.parameters()).device)


@torch.no_grad()
def styles_of(generator: nn.Module, images: Tensor) -> Tensor:
    """One style code [1, style_size]: the mean over images [B, C, *S], such as the slices of a volume."""
    if not len(images):
        raise InputError("a style needs an image with brain in it")
    generator.eval()
    return generator.encode(images)[0].mean(0, keepdim=True)


@torch.no_grad()
def paint(generator: nn.Module, maps: Tensor, styles: Tensor, batch: int = 16) -> Tensor:
    """Images [B, C, *S] >= 0 on label maps [B, K, *S], each in its style [B or 1, style_size]; background is 0.

    What is background for more than half is set to 0, as it is in the images that the generator learned from.
    """
    generator.eval()
    styles = styles.expand(len(maps), -1)
    parts = [generator(maps[k : k + batch], styles[k : k + batch]) for k in range(0, len(maps), batch)]
    return torch.where(maps[:, :1] > 0.5, 0.0, torch.cat(parts).clamp(min=0))


def asked(count: int, seed: int, width: int, lesion: float | None = None, place: float | None = None) -> Tensor:
    """What `DrawMaps` asks of each of `count` maps, [count, width]: lesion flag, slice position, NaN for all else.

    Where they are None the flag is tossed, and the place is drawn evenly from 0.2 to 0.8. Raises InputError for a flag other than
    0 or 1, and for a place beyond [0, 1].
    """
    if lesion not in (None, 0, 1) or not (place is None or 0 <= place <= 1):
        raise InputError(f"lesion={lesion} slice={place}: give 0 or 1, and 0 (the lowest slice) to 1")
    values = torch.full((count, width), torch.nan)
    for k in range(count):
        drawn = torch.rand(2, generator=torch.Generator().manual_seed(stream(seed + k, STYLE + 1)))
        values[k, 0] = float(drawn[0] < 0.5) if lesion is None else lesion
        values[k, 1] = 0.2 + 0.6 * drawn[1] if place is None else place
    return values

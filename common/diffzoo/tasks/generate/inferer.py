"""Images out of nothing: label maps drawn in the latent space of their autoencoder, and images painted on label maps."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.guidance import cfg
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.errors import InputError
from diffzoo.imaging.geometry import plain
from diffzoo.networks.composite import LatentDiffusion, condition_tokens
from diffzoo.tasks.progress import Counter, Progress

AGAIN = 3  # stream of the seeds of maps that are drawn again
BASE_BYTES, VOXEL_BYTES = 0.7e9, 120.0  # Python with torch and MONAI; a voxel of a label volume and what is made of it


@dataclass(frozen=True)
class DrawMaps:
    """draw(network, values [B, n], seeds) -> soft label maps [B, K, *size], a partition of unity (Fernandez et al. 2022).

    values: what is asked of each map (`training.latents.label_conditions`), NaN where it is left open; seeds: one an item, whose
    map does not depend on the others. The sampler starts from noise of sigmas[0] in latents [B, C, *ceil(size / factor)] and ends
    at sigmas[-1]. guidance: of classifier-free guidance, 1 for none. A map that does not obey its lesion flag, values[:, 0],
    is drawn again from other noise, until there were so many attempts. Raises InputError for values and seeds of unequal number.
    """

    precond: Precond
    sampler: Callable[..., Tensor]
    sigmas: Sequence[float]
    size: Sequence[int]
    guidance: float = 1.0
    attempts: int = 1

    def __call__(
        self, network: LatentDiffusion, values: Tensor, seeds: Sequence[int], callback: Callback | None = None
    ) -> Tensor:
        if len(values) != len(seeds):
            raise InputError(f"{len(values)} maps are asked for, with {len(seeds)} seeds")
        maps = self._drawn(network, values, seeds, callback)
        for attempt in range(1, self.attempts):
            wrong = disobeyed(maps, values).nonzero().flatten().tolist()
            if wrong:
                maps[wrong] = self._drawn(network, values[wrong], [stream(seeds[k], AGAIN, attempt) for k in wrong], callback)
        return maps

    @torch.no_grad()
    def _drawn(self, network: LatentDiffusion, values: Tensor, seeds: Sequence[int], callback: Callback | None) -> Tensor:
        """Each map once."""
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


def disobeyed(maps: Tensor, values: Tensor) -> Tensor:
    """Whether maps [B, K, *S] show their last label where values[:, 0] asks for none, or none where it asks for it: bool [B]."""
    shown = maps[:, -1].flatten(1).amax(1) > 0.5
    flag = values[:, 0].to(maps)
    return (flag > 0.5).ne(shown) & ~flag.isnan()


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


class Generate(Inferer):
    """inferer(maps, network, asked, number, real) -> images painted on label maps, and the maps: [1, C + K, H, W, D].

    maps [1, K, H, W, D]: slices of soft labels; where `asked` [1, n] has any number the map is drawn by `draw`, of the seed
    seed + number [1], and maps tells no more than the size. The style is one for all slices: that of `style` [N, C, H, W] where
    there is one, of "real" [1, C, H, W, D] with own_style, else one of `codes` [N, style_size], picked by seed + number. network:
    a `LatentDiffusion` with a generator beside it. `stats` of the latest call: seconds, network_calls (of a slice).
    """

    conditions = ("asked", "number", "real")  # items of a case that it takes beside the image

    def __init__(
        self,
        draw: DrawMaps,
        codes: Tensor,
        style: Tensor | None = None,
        own_style: bool = False,
        seed: int = 0,
        slice_batch: int = 16,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if slice_batch < 1:
            raise ValueError(f"slice_batch must be at least 1, not {slice_batch}")
        self.draw, self.codes, self.style, self.own_style = draw, codes, style, own_style
        self.seed, self.slice_batch, self.progress, self.stats = seed, slice_batch, progress, {}

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        again = f" (up to {self.draw.attempts} times)" * (self.draw.attempts > 1)
        return f"{len(self.draw.sigmas) - 1} network calls a map that is drawn{again}, 1 call a slice that is painted"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a volume of this stored shape is expected to take at the most."""
        return BASE_BYTES + VOXEL_BYTES * math.prod(shape)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: LatentDiffusion, asked: Tensor, number: Tensor, real: Tensor) -> Tensor:
        started, seed = time.perf_counter(), self.seed + int(number.flatten()[0])
        maps, calls = plain(inputs)[0].movedim(-1, 0), 1
        if asked.numel():
            counter = Counter(self.progress, len(self.draw.sigmas) - 1)
            maps = self.draw(network, asked.float(), [seed], counter)
            calls += counter.done
        images = paint(network.generator, maps, self._code(network, real, seed).to(maps), self.slice_batch)
        self.stats = {"seconds": time.perf_counter() - started, "network_calls": calls}
        return torch.cat([images, maps], 1).movedim(0, -1)[None]

    def _code(self, network: LatentDiffusion, real: Tensor, seed: int) -> Tensor:
        """The style code [1, style_size]."""
        if self.own_style:
            if not real.numel():
                raise InputError("style=own needs a brain MR as its input: a label map has no style")
            slices = plain(real)[0].movedim(-1, 0)
            return styles_of(network.generator, slices[(slices > 0).flatten(1).any(1)])
        if self.style is not None:
            return styles_of(network.generator, self.style.to(network.scale.device))
        return self.codes[seed % len(self.codes)][None]

"""Translation by diffusion in the latents of an autoencoder, one target after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian
from diffzoo.networks.composite import site_shares
from diffzoo.tasks.translate.conditions import expand_channels
from diffzoo.tasks.translate.inferer import TOP, Slices, Translate
from diffzoo.tasks.translate.latent_conditions import latent_conditions, latents_of, regions_of


class TranslateLatents(Translate):
    """`Translate` with a `networks.composite.LatentDiffusion` whose diffusion network is a `networks.cola.ColaUNet`.

    Sources and targets are the same roles; what is given is encoded once. `stats` also has "weights": the mean factor that the
    network gives to each source that is there, and to the regions.
    """

    def __call__(self, inputs: Tensor, network, **told: Tensor) -> Tensor:
        self.factors: list[Tensor] = []
        found = super().__call__(inputs, network, **told)
        self.stats["weights"] = self._weights(told["given"])
        return found

    def draw(self, denoiser: Denoiser, batch: Slices, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        """One draw of the targets [B, T, H, W]; one seed a slice, so that each target starts from the same noise."""
        network = denoiser.network
        factor, space = network.autoencoder.factor, network.space
        latents = latents_of(space, batch.image * expand_channels(batch.given, batch.image))
        regions = regions_of(batch.image, batch.given, batch.inside, factor)
        outline, made = site_shares(batch.inside, factor), torch.zeros_like(batch.image)
        for k in batch.wanted[0].nonzero().flatten().tolist():
            wanted = torch.zeros_like(batch.wanted)
            wanted[:, k] = 1
            told = latent_conditions(latents, regions, batch.given, wanted, outline, batch.position)
            self.factors.append(network.diffusion.factors(told["concat"]))
            noise = Gaussian(seeds)
            start = self.sigmas[0] * noise(latents[:, 0])
            found = self.sampler(denoiser.bind(**told), start, self.sigmas, noise=noise, callback=callback)
            made[:, k] = space.decode(found, batch.image.shape[2:])[:, 0]
        return made.clamp(0, TOP) * batch.inside

    def _weights(self, given: Tensor) -> dict[str, float]:
        mean = torch.cat(self.factors).mean(0).tolist() if self.factors else []
        names = [*self.sources, "regions"]
        flags = [*given.flatten().tolist(), 1.0]
        return {name: round(value, 4) for name, value, flag in zip(names, mean, flags, strict=False) if flag}

"""Translation by diffusion in the latents of an autoencoder, one target after the other."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian
from diffzoo.networks.composite import LatentDiffusion, site_shares
from diffzoo.tasks.progress import Counter
from diffzoo.tasks.slices import Part
from diffzoo.tasks.translate.conditions import expand_channels
from diffzoo.tasks.translate.inferer import TOP, Draw, Slices, Translate
from diffzoo.tasks.translate.latent_conditions import latent_conditions, latents_of, regions_of


class TranslateLatents(Translate):
    """`Translate` with a `networks.composite.LatentDiffusion` whose diffusion network is a `networks.cola.ColaUNet`.

    Sources and targets are the same roles; what is given is encoded once. `stats` also has "weights": the mean factor that the
    network gives to each source that is there, and to the regions.
    """

    def part(self, network: nn.Module, given: Mapping[str, Tensor], rows: Sequence[int], counter: Counter) -> Part:
        """The targets of neighbouring slices, and the figures calls and, where a target is wanted, factors [n, sources + 1]."""
        self.factors: list[Tensor] = []
        found, figures = super().part(network, given, rows, counter)
        return found, figures | ({"factors": torch.cat(self.factors)} if self.factors else {})

    def more(self, figures: Sequence[Mapping[str, Tensor]], known: Mapping[str, Tensor]) -> dict:
        """The mean factor of each source that is there, and of the regions."""
        return {"weights": self._weights([told["factors"] for told in figures if "factors" in told], known["given"])}

    def drawer(self, denoiser: Denoiser, batch: Slices) -> Draw:
        """What draws the targets, each from the same noise of its slice."""
        network, wanted = denoiser.network, batch.wanted[0].nonzero().flatten().tolist()
        known = {k: self._conditions(network, batch, k) for k in wanted}
        self.factors += [network.diffusion.factors(conditions["concat"]) for conditions in known.values()]

        def draw(seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
            latents = torch.zeros_like(batch.image)
            for k, conditions in known.items():
                noise, sites = Gaussian(seeds), conditions["concat"].shape[2:]
                like = latents.new_empty(len(latents), network.autoencoder.latent_channels, *sites)
                start = self.sigmas[0] * noise(like)
                latent = self.sampler(denoiser.bind(**conditions), start, self.sigmas, noise=noise, callback=callback)
                latents[:, k] = network.space.decode(latent, batch.image.shape[2:])[:, 0]
            return latents.clamp(0, TOP) * batch.inside

        return draw

    def _conditions(self, network: LatentDiffusion, batch: Slices, target: int) -> dict[str, Tensor]:
        """The conditions of a batch for one target."""
        factor, wanted = network.autoencoder.factor, torch.zeros_like(batch.wanted)
        wanted[:, target] = 1
        latents = latents_of(network.space, batch.image * expand_channels(batch.given, batch.image))
        regions = regions_of(batch.image, batch.given, batch.inside, factor)
        return latent_conditions(latents, regions, batch.given, wanted, site_shares(batch.inside, factor), batch.position)

    def _weights(self, factors: Sequence[Tensor], given: Tensor) -> dict[str, float]:
        mean = torch.cat(list(factors)).mean(0).tolist() if factors else []
        names = [*self.sources, "regions"]
        flags = [*given.flatten().tolist(), 1.0]
        return {name: round(value, 4) for name, value, flag in zip(names, mean, flags, strict=False) if flag}

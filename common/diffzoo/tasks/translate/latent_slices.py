"""Training batches of a latent translation: slices of any one contrast for its autoencoder, then latents of several."""

import torch
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.networks.composite import LatentDiffusion, site_shares
from diffzoo.tasks.translate.conditions import wanted_of
from diffzoo.tasks.translate.dataset import ContrastSlices
from diffzoo.tasks.translate.latent_conditions import latent_conditions, latents_of, regions_of
from diffzoo.training.draws import BatchDataset

ENCODED = 16  # slices at a time


class SingleContrasts(BatchDataset):
    """Batches "image" [B, 1, *size] of slices of `slices`, each in one of the contrasts that its person has."""

    def __init__(self, slices: ContrastSlices) -> None:
        super().__init__(slices.batch_size, slices.batches, slices.seed)
        self.slices = slices

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        batch, roles = self.slices._batch(generator), len(self.slices.roles)
        known = batch["vector"][:, :roles] + wanted_of(batch["vector"], roles)
        role = torch.multinomial(known, 1, generator=generator)[:, 0]
        return {"image": batch["image"][torch.arange(len(role)), role][:, None]}


class LatentContrasts(BatchDataset):
    """Batches of latents of one wanted contrast given others; item i of epoch e is the same batch on every run.

    Each epoch encodes `pool` batches of `slices` anew with the autoencoder of `network`, all contrasts of each slice; a batch
    takes slices of the pool, asks for one contrast of each, and gives from one to all of the others. Gives "image" [B, c, *L],
    "concat" and "vector" as `latent_conditions`. With `corrupted` (a role's number) that source is drowned in noise of the same
    spread, for a check of the auto-weights.
    """

    def __init__(
        self,
        network: LatentDiffusion,
        slices: ContrastSlices,
        pool: int = 24,
        batch_size: int = 16,
        batches: int = 50,
        seed: int = 0,
        corrupted: int | None = None,
    ) -> None:
        super().__init__(batch_size, batches, seed)
        self.network, self.slices, self.pool, self.corrupted = network, slices, pool, corrupted
        self.epoch_pool: tuple[int, dict[str, Tensor]] | None = None

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        encoded = self._encoded()
        drawn = torch.randint(len(encoded["latents"]), (self.batch_size,), generator=generator)
        chosen = {key: value[drawn].float() for key, value in encoded.items()}
        latents, known = chosen["latents"], chosen["known"]
        given, wanted = one_wanted(known, generator)
        if self.corrupted is not None:
            latents[:, self.corrupted] = torch.randn(latents[:, self.corrupted].shape, generator=generator)
        regions = chosen["regions"][torch.arange(self.batch_size), given.argmax(1)]
        conditions = latent_conditions(latents, regions, given, wanted, chosen["outline"], chosen["position"])
        return {"image": (encoded["latents"][drawn].float() * wanted[:, :, None, None, None]).sum(1), **conditions}

    @torch.no_grad()
    def _encoded(self) -> dict[str, Tensor]:
        """What the slices of this epoch are in latents, in half precision."""
        if self.epoch_pool is not None and self.epoch_pool[0] == self.epoch:
            return self.epoch_pool[1]
        self.network.autoencoder.eval()
        parts = []
        for k in range(self.pool):
            generator = torch.Generator().manual_seed(stream(self.seed, self.epoch, k, 1))
            parts.append(self._encode(self.slices._batch(generator)))
        self.epoch_pool = (self.epoch, {key: torch.cat([part[key] for part in parts]) for key in parts[0]})
        return self.epoch_pool[1]

    def _encode(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        roles, space = len(self.slices.roles), self.network.space
        known = batch["vector"][:, :roles] + wanted_of(batch["vector"], roles)
        image, inside = batch["image"], batch["concat"][:, -1:]
        factor = self.network.autoencoder.factor
        each = torch.eye(roles)
        regions = [regions_of(image, each[k].expand(len(image), -1), inside, factor) for k in range(roles)]
        return {
            "latents": latents_of(space, image.to(self.network.scale.device)).half().cpu(),
            "regions": torch.stack(regions, 1).half(),
            "outline": site_shares(inside, factor).half(),
            "known": known,
            "position": batch["vector"][:, -1],
        }


def one_wanted(known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """given and wanted [B, R]: one known contrast is wanted, from one to all of the other known ones are given."""
    order = torch.rand(known.shape, generator=generator).masked_fill(known == 0, 2.0).argsort(1).argsort(1)
    wanted = (order == 0).to(known)
    count = known.sum(1) - 1
    number = 1 + (torch.rand(len(known), generator=generator) * count).floor().clamp(max=(count - 1).clamp(min=0))
    given = ((order > 0) & (order <= number[:, None])).to(known)
    return given, wanted

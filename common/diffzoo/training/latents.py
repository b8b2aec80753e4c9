"""Training batches for diffusion in the latent space of an autoencoder: everything is encoded once, at the start."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from diffzoo.networks.composite import LatentDiffusion, condition_tokens, site_shares
from diffzoo.training.draws import BatchDataset

Conditions = Callable[[Mapping[str, Tensor]], Tensor]  # a batch of the source -> values [B, n], NaN where one is not known


class Latents(BatchDataset):
    """Batches of latents; item i of epoch e is the same batch on every run and after a resume.

    images: batches with "image" [B, K, *S], and "vector" [B, E] where the network takes one. Each goes through the autoencoder
    of `network` as it is, and mirrored along every choice of the axes `flips` of S: in the image, for an autoencoder mirrors no
    better than it was taught. What is kept is one tensor, mean and deviation of each posterior; a batch holds new samples of
    them, or without `sampled` the means. `conditions` tells values of such a batch, given as tokens
    (`networks.composite.condition_tokens`); with probability `forget` an item's are all left unknown, for guidance; and in half
    of the other items each is, with a probability of the item's own, so that any few of them are enough to ask by. Gives "image"
    [B, C, *L] of a spread of 1, for `steps.DiffusionStep`, and "tokens" [B, n, n + 1] or "vector"; with `outline` also "concat"
    [B, 1, *L], the share that a batch's own "concat", a mask [B, 1, H, W], has of each site. Raises ValueError where there are
    no images.
    """

    def __init__(
        self,
        network: LatentDiffusion,
        images: Sequence[Mapping[str, Tensor]],
        conditions: Conditions | None = None,
        flips: Sequence[int] = (),
        forget: float = 0.0,
        batch_size: int = 16,
        batches: int = 100,
        seed: int = 0,
        outline: bool = False,
        sampled: bool = True,
    ) -> None:
        if not len(images):
            raise ValueError("no images to encode: there are no batches of them")
        super().__init__(batch_size, batches, seed)
        self.forget, self.sampled = forget, sampled
        encoded = [_encoded(network, images[index], conditions, flips, outline) for index in range(len(images))]
        self.encoded = {key: torch.cat([part[key] for part in encoded]) for key in encoded[0]}

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        count = len(self.encoded["posterior"])
        drawn = torch.randint(count, (self.batch_size,), generator=generator)
        picked = {key: value[drawn].float() for key, value in self.encoded.items()}
        mean, sd = picked.pop("posterior").chunk(2, 1)
        batch = {"image": mean + sd * torch.randn(mean.shape, generator=generator) if self.sampled else mean}
        if "values" in picked:
            values = picked.pop("values")
            batch["tokens"] = condition_tokens(values.masked_fill(self._lost(values, generator), torch.nan))
        return batch | picked

    def _lost(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """Which of the values [B, n] are left unknown."""
        draws = torch.rand(len(values), 3 + values.shape[1], generator=generator)
        rate = draws[:, 1:2] * (draws[:, 2:3] < 0.5) if self.forget else 0.0
        return (draws[:, :1] < self.forget) | (draws[:, 3:] < rate)


@torch.no_grad()
def _encoded(
    network: LatentDiffusion, batch: Mapping[str, Tensor], conditions: Conditions | None, flips: Sequence[int], outline: bool
) -> dict[str, Tensor]:
    """Posteriors [n B, 2 C, *L] of a batch and its n - 1 mirror images in half precision, and what they are told by."""
    space, image = network.space, batch["image"].to(network.scale.device)
    scale = space.scale.reshape(-1, *[1] * (image.ndim - 2))
    network.autoencoder.eval()
    mirrors = [[2 + axis for axis in axes] for n in range(len(flips) + 1) for axes in combinations(flips, n)]
    posteriors = [network.autoencoder.encode(image.flip(axes)) for axes in mirrors]
    tensors = {"posterior": torch.cat([torch.cat([scale * mean, scale * sd], 1) for mean, sd in posteriors]).half().cpu()}
    facts = {"vector": batch["vector"]} if "vector" in batch else {}
    facts |= {"values": conditions(batch)} if conditions is not None else {}
    if outline:
        masks = torch.cat([batch["concat"].flip(axes) for axes in mirrors])
        tensors["concat"] = site_shares(masks, network.autoencoder.factor).half().cpu()
    return tensors | {key: value.float().cpu().repeat(len(mirrors), 1) for key, value in facts.items()}


def label_conditions(batch: Mapping[str, Tensor], lesion: int = -1) -> Tensor:
    """[lesion flag, slice position, root of the share of the field of each label above 0], [B, K + 1], of K soft maps.

    batch: "image" [B, K, *S], the maps, and "position" [B] in [0, 1]. The flag is 1 where any voxel is lesion for more than half.
    A root, for a lesion's share is a hundredth of a tissue's.
    """
    maps = batch["image"]
    flag = (maps[:, lesion].flatten(1).amax(1) > 0.5).to(maps)
    shares = maps[:, 1:].flatten(2).mean(2).clamp(min=0)
    return torch.cat([flag[:, None], batch["position"].to(maps).reshape(-1, 1), shares.sqrt()], 1)

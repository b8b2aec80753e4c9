"""What a network of latents is told of the contrasts that are given: their latents, regions of the first, the outline."""

import torch
from torch import Tensor

from diffzoo.imaging.intensity_regions import intensity_regions
from diffzoo.networks.composite import site_shares
from diffzoo.spaces import Latent


def latents_of(space: Latent, image: Tensor) -> Tensor:
    """Latents [B, R, c, *L] of the channels of slices [B, R, H, W], each by itself."""
    return space.encode(image.flatten(0, 1)[:, None]).unflatten(0, image.shape[:2])


def regions_of(image: Tensor, given: Tensor, inside: Tensor, factor: int, count: int = 3) -> Tensor:
    """Shares [B, count, *L] of the regions of the first contrast that is given; image [B, R, H, W], given [B, R]."""
    first = given.argmax(1)
    source = image[torch.arange(len(image), device=image.device), first][:, None]
    maps = intensity_regions(source, inside, count)
    return site_shares(maps.flatten(0, 1)[:, None], factor).unflatten(0, maps.shape[:2])[:, :, 0]


def latent_conditions(
    latents: Tensor, regions: Tensor, given: Tensor, wanted: Tensor, outline: Tensor, position: Tensor
) -> dict[str, Tensor]:
    """{"concat" [B, R c + K + R + 1, *L], "vector" [B, 2 R + 1]}, as `networks.cola.ColaUNet` takes them.

    latents [B, R, c, *L], cleared here where they are not given; given and wanted [B, R]; outline [B, 1, *L]; position [B].
    """
    flags = given[:, :, None, None, None]
    planes = given[:, :, None, None].expand(-1, -1, *latents.shape[3:])
    return {
        "concat": torch.cat([(latents * flags).flatten(1, 2), regions, planes.to(latents), outline.to(latents)], 1),
        "vector": torch.cat([given, wanted, position[:, None]], 1).to(latents),
    }

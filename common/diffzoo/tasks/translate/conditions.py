"""What a translating network is told beside its noisy state: the images that are given, which they are, and what is wanted."""

from collections.abc import Mapping

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser, expand_as


def conditions(image: Tensor, given: Tensor, wanted: Tensor, inside: Tensor, position: Tensor) -> dict[str, Tensor]:
    """{"concat" [B, 2 S + 1, *], "vector" [B, S + T + 1]} of slices.

    image [B, S, *]: the sources, cleared here where they are not given; given [B, S] and wanted [B, T]: 1 where a source is
    given and a target to be made; inside [B, 1, *]: 1 in the head or body; position [B]: height of the slice. A source that is
    not given cannot be told from one that is dark, so a plane of ones tells those that are.
    """
    planes = expand_channels(given, image)
    return {
        "concat": torch.cat([image * planes, planes.expand_as(image), inside.to(image)], 1),
        "vector": torch.cat([given, wanted, position[:, None]], 1).to(image),
    }


def untold(known: Mapping[str, Tensor], sources: int) -> dict[str, Tensor]:
    """The same conditions without a word on which of the sources are given."""
    concat, vector = known["concat"].clone(), known["vector"].clone()
    concat[:, sources : 2 * sources] = 0
    vector[:, :sources] = 0
    return {"concat": concat, "vector": vector}


def expand_channels(values: Tensor, like: Tensor) -> Tensor:
    """Values [B, C] as [B, C, 1, ...] beside [B, C, *]."""
    return values.to(like).reshape(*values.shape, *[1] * (like.ndim - 2))


def wanted_of(vector: Tensor, targets: int) -> Tensor:
    """Which targets a condition's vector asks for, [B, T]."""
    return vector[:, -1 - targets : -1]


def completion_loss(denoiser: Denoiser, x0: Tensor, sigma: Tensor, noise: Tensor, *, concat: Tensor, vector: Tensor) -> Tensor:
    """Denoising loss [B] over the targets that are wanted, as `diffusion.denoiser.loss` with its default weight.

    x0 [B, T, *]: the targets; one that is given keeps its clean image as its state, one that is neither has 0. The mean is over
    what is wanted, so that an item with one missing image counts like one with three.
    """
    wanted = expand_channels(wanted_of(vector, x0.shape[1]), x0)
    noisy = x0 + expand_as(sigma, x0) * noise * wanted
    error = (denoiser(noisy, sigma, concat=concat, vector=vector) - x0) * wanted
    voxels = wanted.sum((1, 2, 3)).clamp(min=1) * x0[0, 0].numel()
    return error.pow(2).sum((1, 2, 3)) / voxels / denoiser.precond(sigma)[1] ** 2

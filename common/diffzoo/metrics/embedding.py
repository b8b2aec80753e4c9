"""An embedding that is trained to take changed versions of one image for the same: the second view in which copies are sought."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffzoo.metrics.features import smoothed
from diffzoo.metrics.registered import reduced

Embed = Callable[[Tensor], np.ndarray]  # images [B, C, *S] -> [B, D] of length 1

WIDTHS, SIZE = (32, 64, 128, 128), 64  # channels of the network, each at half the size before, and length of what it gives
LEAST = 8  # pixels
TEMPERATURE = 0.05
REACH = 0.08  # largest shift in training, of an axis
NOISE, BEND, BLUR, SHADE = 0.2, 0.1, 0.5, 0.1  # in standard deviations of an image; BLUR and SHADE are shares


def contrastive(train: Tensor, steps: int = 800, batch: int = 64, seed: int = 0) -> Embed:
    """An embedding, [B, 64] of length 1, trained so that two changed versions of one training image [N, C, *S] lie together.

    NT-Xent (Chen et al. 2020, eq. 1) under shifts, mirroring, changes of contrast, shading, blur and noise, at 32 to 63 pixels an
    axis where there are as many (12 to 23 in 3D); an image is first brought to mean 0 and deviation 1. Adam with a falling rate.
    Same seed, same machine: same embedding. Raises ValueError for fewer than 4 images or 8 pixels.
    """
    if len(train) < 4 or min(train.shape[2:]) < LEAST:
        raise ValueError(
            f"an embedding is trained on 4 images or more of {LEAST} pixels an axis or more, not {list(train.shape)}"
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(train.shape[1], train.ndim - 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2), pct_start=0.1)
    prepared = _prepared(train)
    for _ in range(steps):
        drawn = prepared[torch.randperm(len(prepared), generator=generator)[:batch]]
        vectors = F.normalize(network(torch.cat([changed(drawn, generator), changed(drawn, generator)])), dim=1)
        optimizer.zero_grad(set_to_none=True)
        _ntxent(vectors).backward()
        optimizer.step()
        schedule.step()
    network.eval()

    @torch.no_grad()
    def embed(images: Tensor) -> np.ndarray:
        parts = [F.normalize(network(_prepared(part)), dim=1) for part in images.split(batch)]
        return torch.cat(parts).double().numpy()

    return embed


def changed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, C, *S] of deviation 1, each shifted, mirrored, recoloured, shaded, blurred and made noisy in its own way."""
    count, dims = len(images), images.ndim - 2
    rand = lambda: torch.rand((count, *[1] * (1 + dims)), generator=generator)  # noqa: E731
    x = _moved(images, generator)
    x = torch.lerp(x, smoothed(x), BLUR * rand())
    x = x + BEND * (2 * rand() - 1) * x * x.abs()
    knots = torch.randn((count, 1, *[3] * dims), generator=generator)
    mode = ("linear", "bilinear", "trilinear")[dims - 1]
    x = x * (1 + SHADE * F.interpolate(knots, x.shape[2:], mode=mode, align_corners=True).clamp(-2, 2))
    return _normal(x + NOISE * rand() * torch.randn(x.shape, generator=generator))


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, C, *S] mirrored along each axis by a coin, and shifted by whole pixels; edges are repeated."""
    count = len(images)
    for axis, n in enumerate(images.shape[2:], 2):
        most = max(1, round(REACH * n))
        step = torch.randint(-most, most + 1, (count, 1), generator=generator)
        at = (torch.arange(n) + step).clamp(0, n - 1)
        at = torch.where(torch.rand((count, 1), generator=generator) < 0.5, at, at.flip(1))
        images = images.gather(axis, at.view(count, *(n if a == axis else 1 for a in range(1, images.ndim))).expand(images.shape))
    return images


def _network(channels: int, dims: int) -> nn.Module:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((channels, *WIDTHS)):
        layers += [conv(before, after, 3, stride=2, padding=1, bias=False), norm(after), nn.ReLU()]
    return nn.Sequential(*layers, pool(1), nn.Flatten(), nn.Linear(WIDTHS[-1], SIZE))


def _ntxent(vectors: Tensor) -> Tensor:
    """Cross entropy of finding the partner, half of [2 B, D] away, by cosine."""
    alike = (vectors @ vectors.T / TEMPERATURE).masked_fill(torch.eye(len(vectors), dtype=torch.bool), -torch.inf)
    return F.cross_entropy(alike, torch.arange(len(vectors)).roll(len(vectors) // 2))


def _prepared(images: Tensor) -> Tensor:
    return _normal(reduced(images, (64, 64, 24)[images.ndim - 3]))


def _normal(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    mean, std = (v.view(-1, *[1] * (images.ndim - 1)) for v in (flat.mean(1), flat.std(1)))
    return (images - mean) / (std + 1e-6)

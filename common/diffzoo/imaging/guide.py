"""High frequencies of a CT slice as conditions of a network: edges, and what a low-pass filter takes (FGDM, Li et al. 2024)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.edges import UNIT, EdgeMap

GAIN = 5.0  # high frequencies are told in units of 400 HU
THRESHOLDS, BLURS = (1, 10), (1, 30)  # of the edges in training, whole numbers, ends included
CHANNELS = 2


def low_pass(x: Tensor, width: float) -> Tensor:
    """Images [B, C, H, W] under a Gaussian of `width` pixels (standard deviation, 0: as they are), edges reflected."""
    if width <= 0:
        return x
    reach = min(math.ceil(3 * width), min(x.shape[2:]) - 1)
    steps = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (steps / width).square())
    kernel, flat = kernel / kernel.sum(), x.flatten(0, 1)[:, None]
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="reflect"), kernel.view(1, 1, -1, 1))
    return F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1)).reshape(x.shape)


@dataclass(frozen=True)
class Guide:
    """guide(x) -> edge map and high frequencies [B, 2, H, W] of images x [B, 1, H, W] in model units, for a network's `concat`.

    edges: the edge map of the released code, None: zeros. width: the high frequencies are x less its Gaussian mean over so many
    pixels (standard deviation), in units of 400 HU; 0: zeros. Neither tells the shading that a source has over larger distances.
    """

    edges: EdgeMap | None = field(default_factory=EdgeMap)
    width: float = 3.0

    def __call__(self, x: Tensor, threshold: Tensor | None = None, blur: Tensor | None = None) -> Tensor:
        edges = torch.zeros_like(x) if self.edges is None else self.edges(x, threshold, blur)
        high = GAIN * (x - low_pass(x, self.width)) if self.width > 0 else torch.zeros_like(x)
        return torch.cat([edges, high], 1)


def guide_of(
    edges: bool = True,
    high_pass: float = 3.0,
    window: Sequence[float] = (-1000.0, 1000.0),
    threshold: float = 5.0,
    blur: float = 9.0,
) -> Guide:
    """The guide of a config: with or without edges, high frequencies below so many pixels (0: none)."""
    return Guide(EdgeMap(tuple(window), threshold=threshold, blur=blur) if edges else None, high_pass)


@dataclass(frozen=True)
class RandomGuide:
    """made(guide, x, generator) -> the guide [B, 2, H, W] of training images x [B, 1, H, W], disturbed so as to fit any source.

    Threshold (1 to 10) and blur (1 to 30) of the edges are drawn for each image, as in the released code. Before, the image is
    softened by up to `soften` pixels, and up to `noise` HU of noise are added, white or correlated over up to a pixel. An item's
    edges are left out with a chance of `no_edges`, its high frequencies with one of `no_high`. The image itself stays clean.
    """

    noise: float = 100.0
    soften: float = 0.8
    no_edges: float = 0.15
    no_high: float = 0.25

    def __call__(self, guide: Guide, x: Tensor, generator: torch.Generator) -> Tensor:
        threshold, blur = (torch.randint(low, high + 1, (len(x),), generator=generator) for low, high in (THRESHOLDS, BLURS))
        disturbed = torch.stack([self._disturbed(image, generator) for image in x])
        kept = torch.rand((len(x), CHANNELS, 1, 1), generator=generator) >= torch.tensor([self.no_edges, self.no_high]).view(
            1, -1, 1, 1
        )
        return guide(disturbed, threshold, blur) * kept

    def _disturbed(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """An image [1, H, W] of another sharpness, with noise."""
        soften, size, grain = torch.rand(3, generator=generator).tolist()
        rough = low_pass(torch.randn((1, *image.shape), generator=generator), grain)[0]
        return low_pass(image[None], self.soften * soften)[0] + self.noise / UNIT * size * rough / rough.std()

"""A small classifier of images, such as of their modality, for training a generator and for judging it."""

from itertools import pairwise

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn import functional as F


class ModalityClassifier(nn.Module):
    """Convolutions of stride 2 with group norm over all channels, then the mean and the largest value over space.

    x [B, in_channels, *S] -> the features of each layer, then the logits [B, classes], as a list: the form in which MONAI's
    PatchDiscriminator answers. Its norm keeps the means of the channels, so shades count and not edges alone. Any size.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 1, classes: int = 3, channels: tuple[int, ...] = (16, 32, 64, 64)
    ) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        pairs = list(pairwise((in_channels, *channels)))
        self.layers = nn.ModuleList(conv(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(1, b) for _, b in pairs)
        self.last = nn.Linear(2 * channels[-1], classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)), 0.2)
            features.append(x)
        flat = x.flatten(2)
        return [*features, self.last(torch.cat([flat.mean(2), flat.amax(2)], 1))]

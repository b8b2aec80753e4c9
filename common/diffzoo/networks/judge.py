"""The discriminator of a denoising diffusion GAN: is a pair of neighbouring states real (Xiao et al. 2022, app. C)?"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-8


class PairJudge(nn.Module):
    """x [B, in_channels, H, W] -> scores [B, 1]: strided convolutions without normalisation, so that a gradient penalty is exact.

    The channels are both states and, as planes, which step they are of. The spread of the features within a batch is one more
    channel (Karras et al. 2018, sec. 3): it tells a generator that draws one image alone. The last map is averaged.
    """

    def __init__(self, in_channels: int, channels: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        widths = [in_channels, *channels]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.score = nn.Linear(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.2)
        spread = (x.var(0, unbiased=False) + EPSILON).sqrt().mean().expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.last(torch.cat([x, spread], 1)), 0.2)
        return self.score(x.mean((2, 3)))


def pair(state: Tensor, noisier: Tensor, level: Tensor, higher: Tensor, step: Tensor, steps: int) -> Tensor:
    """What the judge sees, [B, 2 C + steps, *S], of states x0 + sigma n [B, C, *S] at `level` and `higher` [B].

    Both are scaled as those of the VP process, and the number of the step [B] is a plane of ones among zeros.
    """
    view = (-1, *[1] * (state.ndim - 1))
    scaled = [x / (1 + s.square()).sqrt().view(view) for x, s in ((state, level), (noisier, higher))]
    planes = F.one_hot(step, steps).to(state).view(len(state), steps, *[1] * (state.ndim - 2))
    return torch.cat([*scaled, planes.expand(-1, -1, *state.shape[2:])], 1)

"""Auto-weight adaptation of CoLa-Diff: each channel of the stacked conditions gets a weight from its own energy."""

import torch
from torch import Tensor, nn

EPS = 1e-5


class AutoWeight(nn.Module):
    """Y [B, C, H, W] -> Y times 1 + sigmoid(e n + beta), a factor a channel.

    e = alpha |Y_c| is a channel's energy, n = gamma / root mean square over channels of e: a gated channel transformation (Yang
    et al. 2020) with a sigmoid in place of 1 + tanh, as the authors of CoLa-Diff released it. At the start all factors are 1.5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))
        self.gamma, self.beta = (nn.Parameter(torch.zeros(channels)) for _ in range(2))

    def factors(self, y: Tensor) -> Tensor:
        """The factors [B, C] that conditions get."""
        energy = self.alpha * (y.square().sum((2, 3)) + EPS).sqrt()
        norm = self.gamma / (energy.square().mean(1, keepdim=True) + EPS).sqrt()
        return 1 + torch.sigmoid(energy * norm + self.beta)

    def forward(self, y: Tensor) -> Tensor:
        return y * self.factors(y)[..., None, None]

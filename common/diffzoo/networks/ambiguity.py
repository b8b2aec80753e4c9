"""Networks that tell how ambiguous an image is: Gaussian encoders of an image and what goes with it, used in training alone."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

CLIP = 10.0  # of a logarithm of a standard deviation, either way


class GaussianEncoder(nn.Module):
    """Image and companion, as channels [B, in_channels, *S], to a Gaussian of `latent` numbers with a diagonal covariance.

    Blocks of two convolutions and a mean pool, the mean over all places, and a linear layer to mean and log sd: the form of the
    ambiguity modelling and controlling networks (Rahman et al. 2023, sec. 3.2) and of the Probabilistic U-Net before them.
    """

    def __init__(self, in_channels: int = 2, channels: tuple[int, ...] = (16, 32, 64), latent: int = 6) -> None:
        super().__init__()
        widths, blocks = [in_channels, *channels], []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
            blocks.append(nn.AvgPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(channels[-1], 2 * latent)

    def forward(self, x: Tensor) -> Tensor:
        """Mean and log sd, [B, 2 latent]."""
        return self.head(self.features(x).flatten(2).mean(-1))


class AmbiguityNetworks(nn.Module):
    """The modelling network of image and mask, and the controlling network of image and the denoiser's noise, as one module."""

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64), latent: int = 6) -> None:
        super().__init__()
        self.modelling = GaussianEncoder(2, channels, latent)
        self.controlling = GaussianEncoder(2, channels, latent)

    def forward(self, image: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
        """KL divergence [B], in nats, of modelling(image, mask) from controlling(image, noise); each [B, 1, H, W]."""
        posterior = gaussian(self.modelling(torch.cat([image, mask], 1)))
        return kl_divergence(posterior, gaussian(self.controlling(torch.cat([image, noise], 1))))


def gaussian(parameters: Tensor) -> Independent:
    """The distribution of mean and log sd [B, 2 L]."""
    mean, log_sd = parameters.float().chunk(2, 1)
    return Independent(Normal(mean, log_sd.clamp(-CLIP, CLIP).exp()), 1)

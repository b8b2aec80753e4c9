"""What is diffused, where it is not the network's own channels: views between data and the state of a sampler."""

from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise


def channelwise(denoise: Denoise) -> Denoise:
    """Applies a one-channel prior to each channel of x [B, C, *S] on its own, as one batch of B C items.

    So a prior of magnitude images serves real and imaginary parts, and any number of coils (Chung & Ye 2022, Alg. 3 and 4).
    """

    def apart(x: Tensor, sigma: float) -> Tensor:
        flat = x.reshape(-1, 1, *x.shape[2:])
        return denoise(flat, sigma).reshape(x.shape)

    return apart


def around(denoise: Denoise, centre: Tensor) -> Denoise:
    """A prior of x - centre as one of x [B, C, *S]: the network learns what a first image lacks, and not the image again."""
    return lambda x, sigma: centre + denoise(x - centre, sigma)

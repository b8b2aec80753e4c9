"""Sources of noise: where randomness enters a sampler, one stream a batch item."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSource = Callable[[Tensor], Tensor]  # like [B, C, *S] -> noise of its shape, dtype and device; keeps its own state
Noise = Callable[[Sequence[int]], NoiseSource]  # one seed an item -> a source: what a config names, such as `Gaussian`
NoiseDraw = Callable[[Tensor, torch.Generator], Tensor]  # (like, CPU generator) -> noise of its shape on the CPU, for training


def stream(seed: int, *keys: int) -> int:
    """A child seed of 63 well-mixed bits from a seed and integer keys, such as a case, a slice and a sample number."""
    text = ",".join(str(int(k)) for k in (seed, *keys))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Gaussian:
    """Standard normal noise in which each batch item draws from its own generator on the CPU.

    `seeds` has one integer an item, so an item's noise depends neither on the batch size nor on its place in the batch, nor on
    the device. Raises ValueError when called with a batch of another length or with a tensor that is not of real floats.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        """like [B, C, *S] -> noise [B, C, *S] in its dtype, on its device."""
        check_batch(like, len(self.generators))
        draws = [torch.randn(like.shape[1:], generator=g, dtype=like.dtype) for g in self.generators]
        return torch.stack(draws).to(like.device)


def white(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of the shape of `like`, on the CPU, for training."""
    return torch.randn(like.shape, generator=generator)


def mixture(first: NoiseDraw, second: NoiseDraw, share: float = 0.5) -> NoiseDraw:
    """Noise for training, each item of the first kind with probability `share`, else of the second: one network for both.

    Raises ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the first noise lies between 0 and 1, not at {share}")

    def draw(like: Tensor, generator: torch.Generator) -> Tensor:
        picked = torch.rand(len(like), *[1] * (like.ndim - 1), generator=generator) < share
        return torch.where(picked, first(like, generator), second(like, generator))

    return draw


def correlated(widths: tuple[float, float]) -> NoiseDraw:
    """Noise for training whose items are blurred along each axis by a Gaussian of its own width, uniform in `widths` pixels.

    Its standard deviation stays 1. Noise of scanners is seldom white: that of coherent imaging is as wide as the point spread.
    Raises ValueError for widths that are negative or fall.
    """
    low, high = widths
    if not 0 <= low <= high:
        raise ValueError(f"widths run from 0 or more to no less, not {low} to {high}")

    def draw(like: Tensor, generator: torch.Generator) -> Tensor:
        drawn = low + (high - low) * torch.rand(len(like), like.ndim - 2, generator=generator)
        noise = torch.randn(like.shape, generator=generator)
        return torch.stack([blurred(item, *own) for item, own in zip(noise, drawn.tolist(), strict=True)])

    return draw


def blurred(noise: Tensor, *widths: float) -> Tensor:
    """White noise [C, *S] under a Gaussian of that standard deviation (pixels) along each of its axes S, of the same variance.

    The ends of an axis are joined, so the variance is the same everywhere; one width serves all axes.
    """
    axes = range(1, noise.ndim)
    for axis, width in zip(axes, widths if len(widths) > 1 else widths * len(axes), strict=True):
        if width:
            n = noise.shape[axis]
            k = torch.arange(n, device=noise.device, dtype=noise.dtype)
            kernel = torch.exp(-(torch.minimum(k, n - k) ** 2) / (2 * width**2))
            gain = torch.fft.rfft(kernel / kernel.norm())
            shape = [1] * noise.ndim
            shape[axis] = len(gain)
            noise = torch.fft.irfft(torch.fft.rfft(noise, dim=axis) * gain.reshape(shape), n=n, dim=axis)
    return noise


def check_batch(like: Tensor, seeds: int) -> None:
    """Raises ValueError unless `like` [B, ...] has an item a seed and holds real floats."""
    if len(like) != seeds:
        raise ValueError(f"a batch of {len(like)} items needs {len(like)} seeds, this noise source has {seeds}")
    if not like.is_floating_point():
        raise ValueError(f"noise is drawn for real floating tensors, not {like.dtype}; hold complex data as two channels")


def require(noise: NoiseSource | None) -> NoiseSource:
    """The noise source itself; raises ValueError if there is none."""
    if noise is None:
        raise ValueError("this sampler or grid adds noise: pass noise=, for example Gaussian(seeds)")
    return noise


def noised(x0: Tensor, sigma: float, noise: NoiseSource) -> Tensor:
    """x0 + sigma n: the state at level sigma of an image [B, C, *S], the start of an edit (SDEdit, CCDF) or of pure sampling."""
    return x0 + sigma * noise(x0)

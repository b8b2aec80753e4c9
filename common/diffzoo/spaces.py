"""What is diffused, where it is not the network's own channels: views between data and the state of a sampler."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise
from diffzoo.diffusion.noise import NoiseSource


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


def equivariant(denoise: Denoise, seed: int = 0) -> Denoise:
    """A denoiser of x [B, C, H, W] that sees it flipped, transposed and shifted by a pixel at random, which is undone after.

    The draw is another one at each call and the same for all items, so that none depends on its batch: averaged over the steps
    of a sampler the prior has the symmetries that images have and a network lacks (equivariant plug-and-play, Terris et al.
    2024, sec. 3).
    """
    generator = torch.Generator().manual_seed(seed)

    def turned(x: Tensor, sigma: float) -> Tensor:
        down, right, swap, i, j = torch.randint(2, (5,), generator=generator).tolist()
        flips = [axis for axis, drawn in ((-2, down), (-1, right)) if drawn]
        y = x.roll((i, j), (-2, -1)).flip(flips)
        y = denoise(y.mT.contiguous(), sigma).mT if swap else denoise(y, sigma)
        return y.flip(flips).roll((-i, -j), (-2, -1))

    return turned


def averaged(denoise: Denoise) -> Denoise:
    """A denoiser of x [B, C, H, W] as the mean over its eight flips and transposes, each undone: eight calls, and symmetric."""

    def mean(x: Tensor, sigma: float) -> Tensor:
        total = torch.zeros_like(x)
        for flips in ((), (-2,), (-1,), (-2, -1)):
            y = x.flip(flips)
            total += denoise(y, sigma).flip(flips) + denoise(y.mT.contiguous(), sigma).mT.flip(flips)
        return total / 8

    return mean


def boxed(prior: Callable[[], Denoise], extent: Tensor, margin: int = 8, step: int = 16) -> Denoise:
    """A denoiser of x [B, C, H, W] that sees of each item only a box around what is not background, and gives 0 outside.

    extent: bool [B, 1, H, W], whose box is widened by `margin` pixels on all sides and to a multiple of `step`, within the image.
    Items are denoised by groups of one box size, each by a denoiser of its own from `prior`, which may keep a state from call to
    call: so no item depends on the others. One with an empty extent is seen whole.
    """
    boxes = [_box(item[0], margin, step) for item in extent]
    groups: dict[tuple[int, int], list[int]] = {}
    for k, (rows, columns) in enumerate(boxes):
        groups.setdefault((rows.stop - rows.start, columns.stop - columns.start), []).append(k)

    denoisers = {size: prior() for size in groups}

    def inside(x: Tensor, sigma: float) -> Tensor:
        out = torch.zeros_like(x)
        for size, own in groups.items():
            cut = torch.stack([x[k][:, boxes[k][0], boxes[k][1]] for k in own])
            for k, estimate in zip(own, denoisers[size](cut, sigma), strict=True):
                out[k][:, boxes[k][0], boxes[k][1]] = estimate
        return out

    return inside


def _box(extent: Tensor, margin: int, step: int) -> tuple[slice, slice]:
    """Rows and columns of the widened box of a mask [H, W]; all of them where it is empty."""
    return tuple(_widened(extent.any(1 - axis), margin, step) for axis in (0, 1))


def _widened(row: Tensor, margin: int, step: int) -> slice:
    count, at = len(row), row.nonzero()
    if not len(at):
        return slice(0, count)
    low, high = max(0, int(at[0]) - margin), min(count, int(at[-1]) + 1 + margin)
    size = min(count, -(-(high - low) // step) * step)
    start = min(low, count - size)
    return slice(start, start + size)


class Space(Protocol):
    """What lies between data and the state of a sampler, whose standard deviation without noise is `sigma_data`."""

    sigma_data: float

    def encode(self, data: Tensor) -> Tensor:
        """Data [B, K, *S] -> x [B, C, *L]."""

    def decode(self, x: Tensor) -> Tensor:
        """x [B, C, *L] -> data [B, K, *S]."""


class VariationalAutoencoder(Protocol):
    """What `Latent` asks of an autoencoder, such as MONAI's AutoencoderKL."""

    latent_channels: int

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, K, *S] -> mean and standard deviation of its latents, both [B, C, *L]."""

    def decode(self, z: Tensor) -> Tensor:
        """z [B, C, *L] -> [B, K, *S], where S may be padded at its ends."""


class Latent:
    """Latents of an autoencoder times `scale`, a number or one for each of the C channels, which brings them to a spread of 1.

    (Rombach et al. 2022, sec. 3.3 and app. G.) Raises ValueError for a scale of another length, or one that is not positive.
    """

    sigma_data = 1.0

    def __init__(self, autoencoder: VariationalAutoencoder, scale: float | Sequence[float] | Tensor = 1.0) -> None:
        values, channels = torch.as_tensor(scale).reshape(-1), autoencoder.latent_channels
        if len(values) not in (1, channels) or not (values > 0).all() or not values.isfinite().all():
            raise ValueError(f"the scale of {channels} latent channels is one positive number or {channels}, not {scale}")
        self.autoencoder, self.scale = autoencoder, values

    def encode(self, data: Tensor, noise: NoiseSource | None = None) -> Tensor:
        """data [B, K, *S] -> x [B, C, *L]: the mean of the posterior, or a sample of it where there is a source of noise."""
        mean, sd = self.autoencoder.encode(data)
        z = mean if noise is None else mean + sd * noise(mean)
        return z * self._beside(z)

    def decode(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """x [B, C, *L] -> data [B, K, *S], of the first voxels if a size is given: what an encoder had padded falls off."""
        data = self.autoencoder.decode(x / self._beside(x))
        return data if size is None else data[(..., *(slice(0, n) for n in size))]

    def _beside(self, x: Tensor) -> Tensor:
        return self.scale.to(x).reshape(-1, *[1] * (x.ndim - 2))


@torch.no_grad()
def unit_scale(autoencoder: VariationalAutoencoder, batches: Iterable[Tensor]) -> Tensor:
    """The scale [C] that gives posterior samples of these data, batches of [B, K, *S], a standard deviation of 1 in each channel.

    Raises ValueError where there are no data, or latents that are all the same.
    """
    count, first, second = 0, 0.0, 0.0
    for data in batches:
        mean, sd = (value.double().transpose(0, 1).flatten(1) for value in autoencoder.encode(data))
        count, first, second = count + mean.shape[1], first + mean.sum(1), second + (mean.square() + sd.square()).sum(1)
    if not count:
        raise ValueError("no data to measure the latent scale on: give one batch or more")
    variance = second / count - (first / count).square()
    if not (variance > 0).all():
        raise ValueError("a latent channel is the same everywhere: train the autoencoder longer, or with fewer latent channels")
    return variance.rsqrt().float()

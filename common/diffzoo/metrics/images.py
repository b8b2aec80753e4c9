"""Images of files as one set of one size, ready to be compared: volumes, or their slices, framed and brought to one range."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import to_slices
from diffzoo.imaging.io.files import read_volume

SHOWN = 0.1  # of the range: what is brighter than this is not background
LEAST = 0.05  # share of a slice that is not background
ENDS = (0.005, 0.995)  # quantiles of a file that become 0 and 1


class Images(NamedTuple):
    """A set of images: pixels [N, 1, *S], and of each its name and the number of its file."""

    pixels: Tensor
    names: list[str]
    files: np.ndarray


def is_flat(path: str | Path) -> bool:
    """Whether a file is a picture or a single slice."""
    return 1 in read_volume(path, allow_constant=True).shape[1:]


def load_images(paths: Sequence[str | Path], flat: bool, size: int = 64, framed: bool = True) -> Images:
    """The images of files, as slices (`flat`, those of a volume that show something) or as volumes, axes growing to R, A and S.

    framed: each file's 0.5 and 99.5 % quantiles become 0 and 1, and each image is cropped to what is brighter than a tenth of
    that, padded to a square (cube) and brought to `size` pixels: images of other grids and units compare, but size and place no
    longer count. Otherwise all are taken as they are. Raises InputError for a file that cannot be read, for images of unequal
    size that are not framed, and where no image is left.
    """
    pixels, names, files = [], [], []
    for number, path in enumerate(paths):
        volume = to_slices(read_volume(path)).as_tensor()
        if not flat and 1 in volume.shape[1:]:
            raise InputError(f"{path}: is a slice among volumes; give samples and real images of one kind")
        values = _ranged(volume) if framed else volume
        for at, image in _parts(values, flat):
            pixels.append(_framed(image, size) if framed else image)
            names.append(Path(path).name + (f" slice {at}" if volume.shape[-1] > 1 and flat else ""))
            files.append(number)
    if not pixels:
        raise InputError(f"no image with anything on it in {len(paths)} files")
    if len(sizes := {tuple(image.shape) for image in pixels}) > 1:
        raise InputError(f"images of {len(sizes)} sizes, such as {[list(s[1:]) for s in sorted(sizes)[:2]]}: leave --as-is out")
    return Images(torch.stack(pixels), names, np.array(files))


def _ranged(volume: Tensor) -> Tensor:
    low, high = np.quantile(volume.numpy(), ENDS)
    return ((volume - float(low)) / max(float(high - low), 1e-12)).clamp(-0.5, 1.5)


def _parts(volume: Tensor, flat: bool) -> list[tuple[int, Tensor]]:
    if not flat:
        return [(0, volume)]
    if volume.shape[-1] == 1:
        return [(0, volume[..., 0])]
    least = SHOWN * float(volume.max())
    slices = [(k, volume[..., k]) for k in range(volume.shape[-1])]
    return [(k, image) for k, image in slices if float((image > least).float().mean()) >= LEAST]


def _framed(image: Tensor, size: int) -> Tensor:
    """image [1, *S] cropped to what it shows, padded to equal sides with its edges, resampled by area."""
    shown = (image[0] > SHOWN).nonzero()
    box = list(zip(shown.amin(0).tolist(), shown.amax(0).tolist(), strict=True)) if len(shown) else []
    for axis, (start, end) in enumerate(box, 1):
        image = image.narrow(axis, start, end - start + 1)
    side = max(image.shape[1:])
    pads = [p for n in reversed(image.shape[1:]) for p in ((side - n) // 2, side - n - (side - n) // 2)]
    image = F.pad(image[None], pads, mode="replicate")
    if side >= size:
        pool: Callable = (F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[image.ndim - 4]
        return pool(image, size)[0]
    return F.interpolate(image, [size] * (image.ndim - 2), mode=("bilinear", "trilinear")[image.ndim - 4])[0]

"""PET of a head: what tissues take up, what a scanner makes of it, how noisy it is, and where the brain lies."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.guide import low_pass
from diffzoo.imaging.head_mask import ball, filled_slices, largest
from diffzoo.imaging.paired_render import smooth_noise

# uptake of FDG, grey matter 1: outside, air, muscle, fat, cortical bone, marrow, fluid, grey and white matter
UPTAKE = (0.0, 0.0, 0.12, 0.06, 0.08, 0.15, 0.06, 1.0, 0.28)
SPREAD, TEXTURE = 0.08, 0.08  # relative, from one head to the next and from one place to the next
FWHM = 2 * math.sqrt(2 * math.log(2))  # standard deviations
BRAIN, GROW_MM, SMOOTH_MM = 0.3, 6.0, 6.0  # of the 99th percentile; around it; full width at half maximum
LITRES = (0.4, 4.0)  # a mask of less or more is no brain
LEVEL = 95  # percentile of the smoothed brain that is 1 in model units


def activity(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Uptake [B, 1, *S] of shares maps [B, 9, *S] of tissues (`paired_heads.CLASSES`), grey matter about 1; S of 2 or 3 axes."""
    wide = [len(maps), len(UPTAKE), *[1] * (maps.ndim - 2)]
    levels = torch.tensor(UPTAKE) * (SPREAD * torch.randn(len(maps), len(UPTAKE), generator=generator)).exp()
    clean = (maps * levels.view(wide)).sum(1, keepdim=True)
    return clean * (TEXTURE * smooth_noise(clean, 6, generator)).exp()


def blob(shape: Sequence[int], centre: Sequence[float], radius: float) -> Tensor:
    """A soft ball [*shape], 1 within and 0 beyond `radius` pixels of its centre, over an edge of a pixel."""
    lines = (torch.arange(n, dtype=torch.float32) - c for n, c in zip(shape, centre, strict=True))
    axes = torch.meshgrid(*lines, indexing="ij")
    distance = torch.stack(axes).square().sum(0).sqrt()
    return (radius + 0.5 - distance).clamp(0, 1)


def scanned(uptake: Tensor, width: float) -> Tensor:
    """What a scanner without noise shows of slices [B, 1, H, W]: a Gaussian point spread of that full width at half maximum."""
    return low_pass(uptake, width / FWHM)


def counted(image: Tensor, counts: float | Tensor, width: float, generator: torch.Generator) -> Tensor:
    """Slices [B, 1, H, W] as counted: Poisson with a mean of `counts` where the image is 1, then a Gaussian filter of `width`.

    counts: a number or [B, 1, 1, 1]; width: of the filter, in pixels at half maximum. The mean is that of the filtered image.
    """
    return low_pass(torch.poisson(image.clamp(min=0) * counts, generator=generator) / counts, width / FWHM)


def filter_gain(width: float) -> float:
    """By how much a Gaussian filter of `width` pixels at half maximum lowers the standard deviation of white noise in a plane."""
    impulse = torch.zeros(1, 1, 65, 65)
    impulse[..., 32, 32] = 1
    return float(low_pass(impulse, width / FWHM).square().sum().sqrt())


def noise_amount(slices: Tensor, inside: Tensor, width: float) -> float:
    """a of a noise whose standard deviation is a sqrt(image), told from slices [D, H, W] within a mask of the same shape.

    What lies beyond the band of the scanner, told by the Laplacian, is noise that a filter of `width` pixels has left: its
    median size over the root of the smoothed image, by what white noise would give. Edges add to it: images of little noise
    seem noisier. Raises InputError where nothing is bright.
    """
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    x = slices[:, None].float()
    fine = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), kernel)
    smooth = low_pass(x, 2.0)
    kept = inside[:, None].bool() & (smooth > 0.2 * smooth.max())
    if not kept.any():
        raise InputError("nothing of the PET is above a fifth of its maximum: give its noise with --set noise_amount")
    impulse = torch.zeros(1, 1, 65, 65)
    impulse[..., 32, 32] = 1
    through = torch.nn.functional.conv2d(low_pass(impulse, width / FWHM), kernel, padding=1).square().sum().sqrt()
    size = (fine[kept].abs() / smooth[kept].sqrt()).median() / 0.6745
    return float(size / through) * filter_gain(width)


def pet_brain(values: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Where a PET [X, Y, Z] (voxels of `sizes` mm) shows the brain: bool [X, Y, Z], with 6 mm around it.

    What is above 0.3 of the 99th percentile of the smoothed image, its largest part, filled. Raises InputError where that is no
    brain by its volume.
    """
    smooth = smoothed(values, sizes)
    top = float(np.percentile(smooth[smooth > 0.05 * smooth.max()], 99)) if smooth.max() > 0 else 0.0
    if not top > 0:
        raise InputError("the PET holds no uptake")
    core = largest(smooth > BRAIN * top)
    litres = float(core.sum()) * float(np.prod(sizes)) / 1e6
    if not LITRES[0] <= litres <= LITRES[1]:
        raise InputError(f"what takes up tracer has {litres:.2g} litres: this is no PET of a head, or its voxel size is wrong")
    return ball(filled_slices(core), GROW_MM, sizes)


def smoothed(values: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """A volume [X, Y, Z] under a Gaussian of 6 mm at half maximum."""
    return ndimage.gaussian_filter(np.asarray(values, np.float32), SMOOTH_MM / FWHM / np.asarray(sizes))


def uptake_level(values: np.ndarray, inside: np.ndarray, sizes: Sequence[float]) -> float:
    """The value that is 1 in model units: the 95th percentile of the smoothed PET in the brain, one for the whole scan."""
    return float(np.percentile(smoothed(values, sizes)[inside], LEVEL))

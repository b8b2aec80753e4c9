"""What a restoration leaves, in the units of the scan, and the classical methods that it is compared with."""

from collections.abc import Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage
from skimage.restoration import denoise_nl_means
from torch import Tensor

from diffzoo.imaging.geometry import plain
from diffzoo.imaging.noise_level import rician_signal
from diffzoo.operators.fourier import RealMaskedFourier, uncentre
from diffzoo.tasks.reconstruction.baselines import total_variation


class NameRestored(Transform):
    """Splits "pred" [1 or 2, H, W, D] into "restored" and "std" and adds "input", the given image on that grid; times "scale"."""

    def __call__(self, data: Mapping) -> dict:
        parts = dict(zip(("restored", "std"), data["pred"].split(1), strict=False)) | {"input": data["image"]}
        return dict(data) | {name: _scaled(part, data) for name, part in parts.items()}


class AddClassical(Transform):
    """Adds "nonlocal" (non-local means) and "total_variation" of the given image, both told its noise; times "scale".

    nonlocal_weight and tv_weight: their strength in units of the noise; None leaves a method out. median: pixels a side of the
    window of a "median" filter, 0 for none. Of noise of the kind "rician" their mean is set right as the bundle's own.
    """

    def __init__(self, nonlocal_weight: float | None, tv_weight: float | None, kind: str = "rician", median: int = 0) -> None:
        self.nonlocal_weight, self.tv_weight, self.rician = nonlocal_weight, tv_weight, kind == "rician"
        self.median = median

    def __call__(self, data: Mapping) -> dict:
        slices, sd = plain(data["image"]).cpu().movedim(-1, 0), float(data["noise_sd"])
        volumes = {}
        if self.nonlocal_weight is not None:
            means = [_nonlocal(item[0].numpy(), self.nonlocal_weight * sd, sd) for item in slices]
            volumes["nonlocal"] = torch.stack(means)[:, None]
        if self.tv_weight is not None:
            op = RealMaskedFourier(uncentre(plain(data["box"]).cpu())[None])
            volumes["total_variation"] = total_variation(op, op.A(slices), self.tv_weight * sd)
        if self.median:
            volumes["median"] = torch.from_numpy(ndimage.median_filter(slices.numpy(), (1, 1, self.median, self.median)))
        if self.rician:
            volumes = {name: rician_signal(x, sd) for name, x in volumes.items()}
        return dict(data) | {name: _scaled(x.movedim(0, -1), data) for name, x in volumes.items()}


def _nonlocal(image: np.ndarray, strength: float, sd: float) -> Tensor:
    smoothed = denoise_nl_means(image, patch_size=5, patch_distance=6, h=strength, sigma=sd, fast_mode=True)
    return torch.from_numpy(np.ascontiguousarray(smoothed, dtype=np.float32))


def _scaled(volume: Tensor, data: Mapping) -> MetaTensor:
    """A volume [1, H, W, D] in the scan's unit, with the affine of "image"."""
    return MetaTensor(plain(volume).cpu() * float(data["scale"]), affine=data["image"].affine)

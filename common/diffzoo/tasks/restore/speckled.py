"""OCT frames for a trial: speckle on noise-free ones, and a fused frame to compare with."""

from collections.abc import Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import with_meta
from diffzoo.imaging.geometry import to_slices
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.self_fusion import fused_stack
from diffzoo.imaging.speckle import log_speckle


class LoadReference(Transform):
    """Reads "reference", where there is one, a noise-free volume on the grid of "image", as [1, H, W, D], slices last.

    Raises InputError where its grid is another one.
    """

    def __call__(self, data: Mapping) -> dict:
        if "reference" not in data:
            return dict(data)
        volume, image = to_slices(read_volume(data["reference"])), data["image"]
        if volume.shape != image.shape or not torch.allclose(volume.affine, image.affine, atol=1e-3):
            raise InputError(f"{data['reference']}: not on the grid of {data['image_path']}: resample it first")
        return dict(data) | {"reference": with_meta(volume.as_tensor(), image.affine, image.meta["stored_affine"])}


class AddSpeckle(Transform):
    """Makes "image" [1, H, W, D] anew from "reference", or from itself where there is none, with speckle; the clean one stays.

    looks: frames that are averaged, 0 for the image as it was given; width: of the point spread, in pixels; grey: values of the
    display a dB. Values that the display would show below 0 are 0. Drawn from the seed and the slices' size. Raises InputError
    for looks that are negative, and for an image as it was given without a reference.
    """

    def __init__(self, looks: int = 1, width: float = 0.6, grey: float = 4.4, seed: int = 0) -> None:
        if looks < 0 or width < 0 or grey <= 0:
            raise InputError(f"needs looks >= 0, width >= 0 and grey > 0, not {looks}, {width} and {grey}")
        self.looks, self.width, self.grey, self.seed = looks, width, grey, seed

    def __call__(self, data: Mapping) -> dict:
        if not self.looks and "reference" not in data:
            raise InputError(f"{data['image_path']}: nothing to compare with: give a reference in the datalist, or looks > 0")
        clean = data.get("reference", data["image"])
        if not self.looks:
            return dict(data)
        slices = clean.as_tensor()[0].movedim(-1, 0)
        generator = torch.Generator().manual_seed(stream(self.seed, *clean.shape))
        noisy = slices + self.grey * log_speckle(tuple(slices.shape), self.looks, self.width, generator)
        image = with_meta(noisy.clamp(min=0).movedim(0, -1)[None], clean.affine, clean.meta["stored_affine"])
        return dict(data) | {"image": image, "reference": clean}


class AddFused(Transform):
    """Adds "fused" [1, H, W, D]: each frame with `radius` neighbours on each side (`imaging.self_fusion`); 0 leaves it out.

    It stands before the choice of slices, since it needs the neighbours of those that are chosen.
    """

    def __init__(self, radius: int = 3) -> None:
        self.radius = radius

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        if not self.radius:
            return dict(data)
        fused = fused_stack(image.as_tensor()[0].movedim(-1, 0).contiguous(), self.radius).movedim(0, -1)[None]
        return dict(data) | {"fused": MetaTensor(fused, affine=image.affine, meta=dict(image.meta))}

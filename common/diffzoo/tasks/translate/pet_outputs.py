"""What is left of a PET: the image in the unit of the scan on its grid, and the filters that it is compared with."""

import json
from collections.abc import Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage
from skimage.restoration import denoise_nl_means
from torch import Tensor

from diffzoo.imaging.geometry import plain
from diffzoo.imaging.heads import BackToScan
from diffzoo.imaging.pet import FWHM
from diffzoo.tasks.translate.pet import FULL


class NamePET(Transform):
    """Splits "pred" [1 or 3, H, W, D] into "draw", and where there were several draws "mean" and "std", in model units.

    Adds "fullpet" [1, X, Y, Z] on the grid and in the unit of the scan, which keeps its own values outside the brain, and
    "fullpet_std", 0 there. "words" of the case tells what was made from what.
    """

    def __call__(self, data: Mapping) -> dict:
        pred = plain(data["pred"]).cpu()
        names = ("mean", "draw", "std") if len(pred) == 3 else ("draw",)
        parts = dict(zip(names, pred.split(1), strict=True))
        stack = torch.cat(
            [parts["mean" if "mean" in parts else "draw"], parts.get("std", parts["draw"]), plain(data["inside"]).cpu()]
        )
        back = BackToScan(keys=("stack",))({**data, "stack": stack})["stack"]
        image, std, inside = plain(back).split(1)
        scale, scan = float(data["scale"]), plain(data["scan"]).cpu()
        shown = {FULL: blended(inside, image * scale, scan)}
        shown |= {f"{FULL}_std": std * scale} if "std" in parts else {}
        words = {"given": data["given_roles"], "made": FULL, "mode": data["mode"], "noise": round(float(data["noise"]), 4)}
        words["words"] = f"PET of full counts, mode {data['mode']}"
        on_grid = {key: MetaTensor(value, affine=data["image"].affine) for key, value in parts.items()}
        on_scan = {key: MetaTensor(value, affine=back.affine) for key, value in shown.items()}
        return dict(data) | on_grid | on_scan | {"acquisition": json.dumps(words)}


class AddFilters(Transform):
    """Adds "gaussian", "nonlocal" and "source" [1, H, W, D] in model units: two filters of the given PET, and the PET itself.

    width_mm: of the Gaussian at half maximum; strength: of non-local means in units of the noise of grey matter (`pet.LoadPET`).
    """

    def __init__(self, width_mm: float, strength: float, grid_mm: float = 2.0) -> None:
        self.sigma, self.strength = width_mm / FWHM / grid_mm, strength

    def __call__(self, data: Mapping) -> dict:
        pet, inside = plain(data["image"]).cpu()[0].numpy(), plain(data["inside"]).cpu()[0].numpy() > 0
        sd = float(data["noise"])
        smooth = ndimage.gaussian_filter(pet, (self.sigma, self.sigma, 0))
        weight = ndimage.gaussian_filter(inside.astype(np.float32), (self.sigma, self.sigma, 0)).clip(1e-3)
        slices = [_nonlocal(pet[..., k], self.strength * sd, sd) for k in range(pet.shape[-1])]
        found = {"gaussian": smooth / weight, "nonlocal": np.stack(slices, -1), "source": pet}
        images = {key: torch.from_numpy(np.where(inside, x, 0).astype(np.float32))[None] for key, x in found.items()}
        return dict(data) | {key: MetaTensor(x, affine=data["image"].affine) for key, x in images.items()}


def _nonlocal(image: np.ndarray, strength: float, sd: float) -> np.ndarray:
    return denoise_nl_means(image, patch_size=5, patch_distance=6, h=max(strength, 1e-6), sigma=sd, fast_mode=True)


def blended(inside: Tensor, image: Tensor, scan: Tensor) -> Tensor:
    """An image that is 0 beyond a soft mask, with the scan there; all [1, X, Y, Z], brought onto one grid alike."""
    return image + (1 - inside) * scan

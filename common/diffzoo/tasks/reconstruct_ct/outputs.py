"""What a limited-angle reconstruction leaves: volumes in HU, and the classical reconstructions from the same data."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.geometry import plain
from diffzoo.imaging.tomography import AIR, TOP, attenuation_of, first_image, hu_of
from diffzoo.operators.backprojection import fbp
from diffzoo.operators.base import cg
from diffzoo.tasks.reconstruct_ct.projections import projector_of
from diffzoo.tasks.reconstruction.baselines import CHANGE, ITERATIONS

CHUNK = 8  # slices worked on at a time


class NameTomograms(Transform):
    """Splits "pred" [1 or 2, H, W, D] into "recon" and "std", adds "first" and "fbp", all in HU, and a picture "sinogram_view".

    The FBP is cut to the window, as every method is. The picture shows half a turn of views, those not measured black, stretched
    to the size of a slice.
    """

    def __init__(self, filter: str = "ramp") -> None:
        self.filter = filter

    def __call__(self, data: Mapping) -> dict:
        image, y = data["image"], plain(data["sinogram"]).cpu()
        op, _ = projector_of(data, image.shape[1:3])
        first = torch.cat([fbp(op, part, self.filter) for part in y.movedim(-1, 0).split(CHUNK)]).movedim(0, -1)
        volumes = {"recon": _hu(data["pred"][:1], image), "first": _hu(image, image), "fbp": _hu(first, image)}
        if len(data["pred"]) > 1:
            volumes["std"] = MetaTensor(-AIR * plain(data["pred"][1:]).cpu(), affine=image.affine)
        view = _half_turn(y, plain(data["angles"]).tolist(), image.shape[1:3])
        return dict(data) | volumes | {"sinogram_view": MetaTensor(view, affine=image.affine)}


class AddTomographyBaselines(Transform):
    """Adds "rls" and "total_variation" in HU from the same data: regularised least squares, and with total variation.

    rls: 20 steps of conjugate gradients on (A^T A + lam |A|^2 I) x = A^T y. total_variation: that of `first_image`, on data
    weighted by the filter of backprojection, to convergence; without a weight it is left out.
    """

    def __init__(self, tv_weight: float | None, rls_weight: float = 0.01) -> None:
        self.tv_weight, self.rls_weight = tv_weight, rls_weight

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        raw, op = projector_of(data, image.shape[1:3])
        y = op.factor * plain(data["sinogram"]).cpu().movedim(-1, 0)
        rls = torch.cat([cg(lambda x: op.AtA(x) + self.rls_weight * x, op.AT(part), steps=20) for part in y.split(CHUNK)])
        volumes = {"rls": rls}
        if self.tv_weight is not None:
            unscaled = plain(data["sinogram"]).cpu().movedim(-1, 0)
            parts = [first_image(raw, y, None, ITERATIONS, self.tv_weight, CHANGE) for y in unscaled.split(CHUNK)]
            volumes["total_variation"] = torch.cat(parts)
        return dict(data) | {key: _hu(x.movedim(0, -1), image) for key, x in volumes.items()}


def _hu(attenuation: Tensor, like: MetaTensor) -> MetaTensor:
    """Attenuation [1, H, W, D] as HU within the window, with the affine of `like`."""
    top = attenuation_of(torch.tensor(TOP)).item()
    return MetaTensor(hu_of(plain(attenuation).cpu().clamp(0, top)), affine=like.affine)


def _half_turn(y: Tensor, angles: list[float], shape: tuple[int, int]) -> Tensor:
    """Sinogram [1, V, K, D] on half a turn of views (those not measured 0), resampled to [1, H, W, D], views down the page."""
    step = float(np.median(np.diff(sorted(angles))))
    rows = max(round(math.pi / step), len(angles))
    full = torch.zeros(1, rows, *y.shape[2:])
    for k, angle in enumerate(angles):
        full[:, round((angle - angles[0]) / step) % rows] = y[:, k]
    page = F.interpolate(full.movedim(-1, 0), (shape[1], shape[0]), mode="area")  # [D, 1, W, H]
    return page.movedim(0, -1).transpose(1, 2).flip(2)  # bins along axis 0, the first view at the top

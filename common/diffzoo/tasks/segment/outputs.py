"""What a segmentation leaves: probability, majority and spread of the masks on the image's grid; and what it is compared with."""

import json
from collections.abc import Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor, nn

from diffzoo.imaging.geometry import plain
from diffzoo.metrics.ambiguous import majority
from diffzoo.tasks.segment.scans import put_back
from diffzoo.tasks.segment.step import logits

FEW = 4  # draws, as many as there are readers in the usual data


class NameMasks(Transform):
    """Makes of "pred" [N, S, S, D] the masks on the image's grid: "drawn" bool [N, H, W, D], and what people look at.

    "probability": share of the draws that hold a pixel; "segmentation": pixels that more than half of them hold; "std", of
    several draws: their standard deviation in a pixel; all [1, H, W, D]. With more than four draws "drawn_4" has the first four.
    With `each`, "draws" is told to the report. "acquisition" tells how much they differ, in words and figures.
    """

    def __init__(self, each: bool = False) -> None:
        self.each = each

    def __call__(self, data: Mapping) -> dict:
        image, pred = data["image"], plain(data["pred"]).cpu()
        drawn = on_image(pred, data) > 0
        share = drawn.float().mean(0, keepdim=True)
        volumes = {"probability": share, "segmentation": majority(drawn)[None].float(), "std": (share * (1 - share)).sqrt()}
        volumes = {key: value for key, value in volumes.items() if key != "std" or len(drawn) > 1}
        out = {key: MetaTensor(value, affine=image.affine) for key, value in volumes.items()} | {"drawn": drawn}
        out |= {"drawn_4": drawn[:FEW]} if len(drawn) > FEW else {}
        out |= {"draws": MetaTensor(drawn.float(), affine=image.affine)} if self.each else {}
        sizes = drawn.flatten(1).sum(1).tolist()
        marked = sum(size > 0 for size in sizes)
        facts = {"draws": len(sizes), "marked": marked, "pixels": sizes}
        words = f"{marked} of {len(sizes)} draws mark something, {min(sizes)} to {max(sizes)} pixels"
        return dict(data) | out | {"acquisition": json.dumps({"words": words, **facts})}


class AddOneCall(Transform):
    """Adds "one_call" bool [1, H, W, D]: the mask of the network that was trained to make one, in one call."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def __call__(self, data: Mapping) -> dict:
        patch = plain(data["patch"]).cpu().movedim(-1, 0)
        found = logits(self.network.cpu(), patch)
        return dict(data) | {"one_call": on_image(found.movedim(0, -1), data) > 0}


class AddClassical(Transform):
    """Adds "region" bool [1, H, W, D], what is brighter than `level` and hangs together around the middle; and "empty".

    level: grey level of the smoothed patch; opening: pixels by which it is opened first, to cut vessels and wall; reach: pixels
    from the middle within which the region must begin, and pixels * 4 beyond which nothing counts.
    """

    def __init__(self, level: float = 0.2, opening: int = 1, reach: int = 6, smooth: float = 0.5) -> None:
        self.level, self.opening, self.reach, self.smooth = level, opening, reach, smooth

    def __call__(self, data: Mapping) -> dict:
        patches = plain(data["patch"]).cpu()[0].movedim(-1, 0).numpy()
        grown = torch.from_numpy(np.stack([region(p, self.level, self.opening, self.reach, self.smooth) for p in patches]))
        mask = on_image(grown.float().movedim(0, -1)[None] * 2 - 1, data) > 0
        return dict(data) | {"region": mask, "empty": torch.zeros_like(mask)}


def region(patch: np.ndarray, level: float, opening: int, reach: int, smooth: float) -> np.ndarray:
    """The connected part of a patch [S, S] above a grey level that comes nearest to its middle, bool; empty if none is near."""
    above = ndimage.gaussian_filter(patch, smooth) > level if smooth else patch > level
    middle = (np.array(patch.shape) - 1) / 2
    far = np.hypot(*(np.indices(patch.shape) - middle[:, None, None]))
    above &= far <= 4 * reach
    above = ndimage.binary_opening(above, iterations=opening) if opening else above
    parts, count = ndimage.label(above)
    if not count or far[above].min() > reach:
        return np.zeros_like(above)
    return parts == parts[np.unravel_index(np.where(above, far, np.inf).argmin(), far.shape)]


def on_image(patches: Tensor, data: Mapping) -> Tensor:
    """Values [N, S, S, D] of a patch, above 0 inside a mask, on the slices of the image [N, H, W, D]; -1 beyond the patch."""
    field = data["image"].shape[1:3]
    shifted = put_back((patches.float() + 1).movedim(-1, 0), plain(data["matrix"]).cpu().float().reshape(2, 3), field)
    return shifted.movedim(0, -1) - 1

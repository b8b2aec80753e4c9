"""What an anomaly detector has to beat: brightness, and the distance to the mean healthy head."""

from collections.abc import Mapping

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from diffzoo.imaging.geometry import plain
from diffzoo.tasks.anomaly.atlas import load_atlas, sample


class AddAnomalyBaselines(Transform):
    """Adds the maps "brightness" (the image itself) and "mean_distance" (to the mean head of `atlas`), both 0 outside the brain.

    Slices that were cut out of a head are compared with the mean of the whole: "whole_brain" [1, H, W, D'] and "slice_index" tell
    where they lie.
    """

    def __init__(self, atlas: str) -> None:
        self.atlas = load_atlas(atlas)

    def __call__(self, data: Mapping) -> dict:
        image, brain = plain(data["image"]).cpu(), plain(data["brain"]).cpu().bool()
        interior = plain(data["whole_brain"]).cpu().bool() if "whole_brain" in data else brain
        mean = sample(self.atlas, data["modality"], interior[0].numpy())
        rows = np.asarray(data["slice_index"]) if interior.shape != brain.shape else slice(None)
        distance = (image - torch.from_numpy(mean[None, ..., rows])).abs()
        maps = {"brightness": image, "mean_distance": distance}
        return dict(data) | {k: MetaTensor(torch.where(brain, v, 0), affine=data["image"].affine) for k, v in maps.items()}

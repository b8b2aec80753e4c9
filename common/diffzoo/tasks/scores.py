"""How abnormal a voxel is, from an image and its healthy version: scores for `tasks.anomaly.FindAnomalies`."""

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor


def residual(image: Tensor, healthy: Tensor, brain: Tensor, smoothing: float = 0.0, power: float = 1.0) -> Tensor:
    """|image - healthy|^power, averaged under a Gaussian of `smoothing` voxels inside the brain; 0 outside.

    image, healthy [1, H, W, D], brain bool [1, H, W, D] -> [1, H, W, D]. power = 2 is the map of AnoDDPM (sec. 3.3).
    """
    difference = torch.where(brain, (image - healthy).abs() ** power, 0)
    if smoothing > 0:
        blur = GaussianFilter(spatial_dims=3, sigma=smoothing).to(image.device)
        weight = blur(brain.to(image)[None])[0]
        difference = torch.where(brain, blur(difference[None])[0] / weight.clamp(min=1e-6), 0)
    return difference

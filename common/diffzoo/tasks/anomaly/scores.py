"""How abnormal a voxel is, from an image and its healthy version: scores for `tasks.anomaly.inferer.FindAnomalies`."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def residual(
    image: Tensor,
    healthy: Tensor,
    brain: Tensor,
    power: float = 1.0,
    window: int = 1,
    smoothing: float = 0.0,
    rim: int = 0,
) -> Tensor:
    """|image - healthy|^power as a map: the median of a window, then smoothed; 0 outside the brain.

    image, healthy [1, H, W, D], brain bool [1, H, W, D] -> [1, H, W, D]. power = 2 alone is the map of AnoDDPM (sec. 3.3). The
    median over `window` voxels in the plane and up to 3 across takes out what is thinner than a lesion: a sulcus or the edge of a
    ventricle that is not quite where the prior has it. smoothing: voxels of a Gaussian, averaged inside the brain. rim: voxels at
    the edge of the brain whose difference counts as 0, as the outline of a mask is never exact.
    """
    inside = brain[0].cpu().numpy()
    difference = ((image - healthy).abs() ** power)[0].float().cpu().numpy()
    core = ndimage.binary_erosion(inside, np.ones((3, 3, 1)), iterations=rim) if rim else inside
    difference = np.where(core, difference, 0)
    if window > 1:
        difference = ndimage.median_filter(difference, (window, window, min(window, 3)))
    if smoothing > 0:
        weight = ndimage.gaussian_filter(inside.astype(np.float32), smoothing)
        difference = ndimage.gaussian_filter(difference, smoothing) / weight.clip(1e-6)
    score = np.where(inside, difference, 0).astype(np.float32)
    return torch.from_numpy(score)[None].to(image.device)

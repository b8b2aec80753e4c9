"""Lesions painted into healthy brain slices: masks lent by patients, and simulated ones of `imaging.lesions`."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.lesions import TEXTURES, insert_lesion

RADII_MM = (2.5, 17.0)  # of simulated lesions
CONTRASTS = (0.25, 0.8)  # sizes of the change, relative to the tissue around
LENT = {
    "t1": (-0.55, -0.15),
    "t2": (0.25, 1.2),
    "flair": (0.2, 0.8),
}  # how multiple sclerosis shows, relative to the tissue there
TRIES = 5  # each with half the radius, until a lesion has room


def paint_mask(image: Tensor, share: Tensor, modality: str, generator: torch.Generator) -> Tensor:
    """Slice [1, H, W] in which a lesion mask, share [1, H, W] in [0, 1], shows as multiple sclerosis does in a contrast.

    The level is drawn once a slice (`LENT`), darker than the tissue in T1 and brighter in T2 and FLAIR, and the edge is softened
    by up to a voxel. Values stay at 0 or above.
    """
    low, high = LENT[modality]
    change, blur = torch.rand(2, generator=generator).tolist()
    soft = torch.from_numpy(gaussian_filter(share[0].float().numpy(), 0.3 + 0.6 * blur))[None]
    tissue = image[(share > 0.5) & (image > 0)]
    level = tissue.median() if tissue.numel() else image.max()
    painted = (1 + low + (high - low) * change) * (0.7 * level + 0.3 * image)
    return torch.where(image > 0, image + soft.clamp(0, 1) * (painted - image), image).clamp(min=0)


def paint_simulated(image: Tensor, brain: Tensor, grid_mm: float, generator: torch.Generator) -> Tensor | None:
    """Slice [1, H, W] with one to four simulated lesions in its brain mask [1, H, W]; None where not even a small one has room.

    Radius (2.5 to 17 mm, less where there is no room), bright or dark, contrast and texture are drawn; lesions in the plane are
    what a deformed ball leaves there (`imaging.lesions.insert_lesion`).
    """
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    tissue, room = image[0].float().numpy(), brain[0].numpy() > 0
    for _ in range(int(rng.integers(1, 5))):
        radius = rng.uniform(*RADII_MM)
        contrast = rng.uniform(*CONTRASTS) * rng.choice([-1, 1])
        texture, seed = str(rng.choice(TEXTURES)), int(rng.integers(2**31))
        painted = _inserted(tissue, room, radius, contrast, texture, grid_mm, seed)
        if painted is not None:
            tissue, mask = painted
            room = room & ~mask
    return None if np.array_equal(tissue, image[0].float().numpy()) else torch.from_numpy(tissue)[None]


def _inserted(tissue, room, radius, contrast, texture, grid_mm, seed) -> tuple[np.ndarray, np.ndarray] | None:
    """A lesion of at most this radius, and its mask; None where the smallest has no room."""
    for _ in range(TRIES):
        try:
            return insert_lesion(tissue, room, radius, contrast, texture, grid_mm, seed)
        except InputError:
            radius = max(RADII_MM[0], radius / 2)
    return None

"""The mean healthy head of each contrast, on a small grid that the box of every brain is stretched to."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.contrasts import shown_as
from diffzoo.imaging.heads import LoadHead, one_hot

SHAPE = (48, 56, 40)  # cells along the box of the brain, left to right, back to front, bottom to top


def build(entries: Sequence[Mapping], load: LoadHead) -> dict[str, Tensor]:
    """Mean heads, half precision [*SHAPE], by contrast, of healthy volumes: entries as for `training.brains.BrainSlices`.

    Voxels of a lesion ("mask", grown by one) are left out of the mean; cells that no brain reaches are 0.
    """
    sums: dict[str, np.ndarray] = {}
    for entry in entries:
        data = load({key: entry[key] for key in ("image", "mask", "modality") if entry.get(key)})
        modality, image = data["modality"], data["image"].as_tensor()
        if entry.get("shown_as"):
            modality, slices = entry["shown_as"], image.movedim(-1, 0)
            image = shown_as(slices, one_hot(modality).expand(len(slices), -1)).movedim(0, -1)
        brain = data["brain"].as_tensor()[0].numpy()
        counted = brain
        if "mask" in data:  # grown by a voxel: the rim of a lesion is blurred on this grid
            counted = brain & ~ndimage.binary_dilation(data["mask"].as_tensor()[0].numpy())
        values = np.stack([np.where(counted, image[0].numpy(), 0), counted]).astype(np.float32)
        placed = np.stack([_stretched(v, _box(brain), SHAPE) for v in values]) * float(entry.get("weight", 1.0))
        sums[modality] = sums.get(modality, 0) + placed
    return {k: torch.from_numpy(np.where(v[1] > 0.25, v[0] / v[1].clip(0.25), 0)).half() for k, v in sorted(sums.items())}


def load_atlas(path: str | Path) -> dict[str, Tensor]:
    """The tensors of an atlas file."""
    return load_file(path)


def sample(atlas: Mapping[str, Tensor], modality: str, brain: np.ndarray) -> np.ndarray:
    """The mean head of a contrast on the grid of a brain mask [H, W, D], float32, 0 outside the mask.

    Raises InputError for a contrast that the atlas does not hold.
    """
    if modality not in atlas:
        raise InputError(f"the mean healthy head is known for {', '.join(sorted(atlas))}, not for {modality}")
    box = _box(brain)
    inside = _stretched(atlas[modality].float().numpy(), None, [s.stop - s.start for s in box])
    volume = np.zeros(brain.shape, np.float32)
    volume[box] = inside
    return np.where(brain, volume, 0)


def _box(brain: np.ndarray) -> tuple[slice, ...]:
    if not brain.any():
        raise InputError("the brain mask is empty")
    return ndimage.find_objects(brain.astype(np.uint8))[0]


def _stretched(volume: np.ndarray, box: tuple[slice, ...] | None, shape: Sequence[int]) -> np.ndarray:
    """The part of a volume in a box, resampled linearly to a shape, cell edges on cell edges."""
    part = volume[box] if box else volume
    ratio = np.array(part.shape) / np.array(shape)
    return ndimage.affine_transform(part, ratio, (ratio - 1) / 2, tuple(shape), order=1, mode="nearest")

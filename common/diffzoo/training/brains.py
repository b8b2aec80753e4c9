"""Training batches of healthy axial brain slices, prepared as for inference and augmented as a batch."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.contrasts import shown_as
from diffzoo.imaging.heads import TOP, LoadHead, one_hot, resample
from diffzoo.imaging.hyperintense import bright_spots
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.lesions import filled
from diffzoo.training.draws import BatchDataset

T2 = 1  # place of T2 in the condition's one-hot
LEAST_BRAIN = 0.01  # share of a slice that is brain; with less it teaches nothing


class BrainSlices(BatchDataset):
    """Batches of axial brain slices; item i of epoch e is the same batch on every run and after a resume.

    entries: {"image": head MR, optional "mask": lesion label of the same space, whose slices are left out with any that a lesion
    voxel reaches by interpolation, "fill": true to keep them with the lesions filled by the tissue around instead, "flair": a
    FLAIR of the same session whose bright spots are filled likewise, where there is no mask, "modality":
    "t1" | "t2" | "flair", else told by the name, "shown_as": a contrast to simulate from a T1 (`imaging.contrasts`), "weight":
    1.0}. A volume is drawn by its weight, however thin its slices, and as much less as it loses slices to lesions. Volumes go
    through `imaging.heads.LoadHead` once; slices are cut to `size` voxels of `grid_mm`, left to right and back to front.
    Augmentation: turn, zoom, shift, smooth displacement, left-right flip, gamma 0.8 to 1.25, smooth bias field, slight blur; what
    is 0 around the brain stays 0, and a simulated contrast is another one each time. With `atrophy` ventricles are made larger
    and smaller too, and fluid wider: brains of another age than the few at hand.
    Gives "image" [B, 1, *size], about [0, 1], "concat" [B, 1, *size], the brain mask, and "vector" [B, 4] as `LoadHead` tells it.
    Raises InputError for a volume that is no head MR or whose modality is not known, ValueError where no slice is left.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        size: Sequence[int] = (96, 112),
        grid_mm: float = 2.0,
        batch_size: int = 16,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
        atrophy: bool = False,
    ) -> None:
        if not entries:
            raise ValueError("no training volumes: the list of entries is empty")
        super().__init__(batch_size, batches, seed)
        self.size, self.augment, self.atrophy = tuple(size), augment, atrophy
        load = LoadHead(grid_mm, field=self.size)
        stacks, vectors, weights, simulated = [], [], [], []
        for entry in entries:
            slices, share, vector = _healthy(entry, load)
            if len(slices):
                stacks.append(slices)
                vectors.append(vector)
                weights.append(torch.full((len(slices),), share * float(entry.get("weight", 1.0)) / len(slices)))
                simulated.append(torch.full((len(slices),), bool(entry.get("shown_as"))))
        if not stacks:
            raise ValueError("no training slices: every slice with brain in it holds a lesion")
        self.slices, self.vectors, self.weights = torch.cat(stacks), torch.cat(vectors), torch.cat(weights)
        self.simulated = torch.cat(simulated)

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        (image, brain), vector = self.slices[drawn].float()[:, :, None].unbind(1), self.vectors[drawn]
        picked = self.simulated[drawn]
        if picked.any():
            image[picked] = shown_as(image[picked], vector[picked, :-1], generator if self.augment else None)
        if self.augment:
            image, brain = augmented(image, brain, generator, vector[:, T2] > 0 if self.atrophy else None)
        return {"image": image, "concat": brain, "vector": vector}


def augmented(image: Tensor, brain: Tensor, generator: torch.Generator, bright: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Brain slices [B, 1, H, W] >= 0 (H left to right) and their masks, each with its own small changes.

    bright [B] bool tells where fluid is brighter than tissue, as in T2, and asks for more and for less of it.
    """
    x, mask = warped(torch.cat([image, brain], 1), generator, bright is not None).split(1, 1)
    inside = x > 0
    if bright is not None:
        x = _widened(x, mask > 0.5, bright, generator)
    x = _blurred(x, 0.15 * _uniform(x, 0, 1, generator) * (_uniform(x, 0, 1, generator) < 0.5))
    field = 0.12 * torch.randn((len(x), 1, 3, 3), generator=generator)
    bias = F.interpolate(field, x.shape[2:], mode="bicubic", align_corners=True).exp()
    gamma = _uniform(x, math.log(0.8), math.log(1.25), generator).exp()
    return torch.where(inside, (x.clamp(min=1e-6) ** gamma) * bias, 0).clamp(0, TOP), (mask > 0.5).to(x)


def warped(image: Tensor, generator: torch.Generator, swollen: bool = False) -> Tensor:
    """Turned up to 8 degrees, zoomed by up to 10 %, stretched by up to 4 %, shifted by up to 4 %, bent; half of them flipped."""
    count, (height, width) = len(image), image.shape[2:]
    turn, zoom, stretch, up, right, flip = (
        _uniform(image, low, high, generator).flatten()
        for low, high in ((-0.14, 0.14), (-0.1, 0.1), (-0.04, 0.04), (-0.08, 0.08), (-0.08, 0.08), (-1, 1))
    )
    along, across = (zoom + stretch).exp(), (zoom - stretch).exp() * flip.sign()
    cos, sin = turn.cos(), turn.sin()
    # affine_grid counts in half widths and half heights: the ratio of the two keeps a turn a turn
    rows = [cos * along, -sin * across * height / width, right, sin * along * width / height, cos * across, up]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), image.shape, align_corners=False)
    change = _bend(image, generator) + (_swell(grid, generator) if swollen else 0)
    return F.grid_sample(image, grid + change, align_corners=False)


def _bend(image: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth random displacement [B, H, W, 2] in half widths, about 1.3 pixels: no anatomy comes twice."""
    total = torch.zeros(len(image), 2, *image.shape[2:])
    for knots, pixels in ((5, 1.0), (10, 0.7)):
        field = torch.randn((len(image), 2, knots, knots), generator=generator) * pixels
        total += F.interpolate(field, image.shape[2:], mode="bicubic", align_corners=True)
    return total.movedim(1, -1) * 2 / torch.tensor([image.shape[3], image.shape[2]])


def _swell(grid: Tensor, generator: torch.Generator) -> Tensor:
    """What makes the middle of a slice, where the ventricles lie, larger or smaller: [B, H, W, 2], added to a grid."""
    draws = torch.rand((len(grid), 4, 1, 1), generator=generator)
    place = 0.24 * (draws[:, :2] - 0.5)
    away = grid - place.movedim(1, -1)
    width = 0.12 + 0.18 * draws[:, 2, ..., None]
    strength = (1.1 * draws[:, 3, ..., None] - 0.45).clamp(max=0.55)  # up to 2.2 times larger, and 0.7 times
    return -strength * away * torch.exp(-away.square().sum(-1, keepdim=True) / (2 * width**2))


def _widened(x: Tensor, brain: Tensor, bright: Tensor, generator: torch.Generator) -> Tensor:
    """Fluid [B, 1, H, W] up to a voxel wider, here more and there less, in half of the slices: sulci of an older brain."""
    ground = torch.where(brain, x, torch.where(bright.view(-1, 1, 1, 1), 0.0, TOP))  # the outside is no fluid
    signed = torch.where(bright.view(-1, 1, 1, 1), ground, -ground)
    wider = F.max_pool2d(signed, 3, 1, 1)
    wider = torch.where(bright.view(-1, 1, 1, 1), wider, -wider)
    share = F.interpolate(torch.rand((len(x), 1, 4, 4), generator=generator), x.shape[2:], mode="bicubic").clamp(0, 1)
    share = share * (_uniform(x, 0, 1, generator) < 0.5)
    return torch.where(brain, x + share * (wider - x), x)


def _blurred(x: Tensor, weight: Tensor) -> Tensor:
    """x [B, 1, H, W] with `weight` [B, 1, 1, 1] of each neighbour mixed in, along both axes."""
    for axis, pad in ((2, (0, 0, 1, 1)), (3, (1, 1, 0, 0))):
        wide, n = F.pad(x, pad, mode="replicate"), x.shape[axis]
        x = (1 - 2 * weight) * x + weight * (wide.narrow(axis, 0, n) + wide.narrow(axis, 2, n))
    return x


def _uniform(like: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand((len(like), 1, 1, 1), generator=generator)


def _healthy(entry: Mapping, load: LoadHead) -> tuple[Tensor, float, Tensor]:
    """Slices [N, 2, *size] (image and mask, half precision) with brain and no lesion, their share of all, vectors."""
    data = load({key: entry[key] for key in ("image", "mask", "modality") if entry.get(key)})
    image, brain = (data[key].as_tensor()[0] for key in ("image", "brain"))
    if entry.get("flair"):
        image = torch.from_numpy(filled(image.numpy(), _bright(entry["flair"], data["image"], load), brain.numpy()))
    elif "mask" in data and entry.get("fill"):
        image = torch.from_numpy(filled(image.numpy(), data["mask"].as_tensor()[0].numpy(), brain.numpy()))
    image = torch.stack([image, brain.to(image)]).movedim(-1, 0)
    starts = [(n - want) // 2 for n, want in zip(image.shape[2:], load.field, strict=True)]
    image = image[:, :, starts[0] : starts[0] + load.field[0], starts[1] : starts[1] + load.field[1]]
    keep = (image[:, 0] > 0).flatten(1).float().mean(1) >= LEAST_BRAIN
    count = max(1, int(keep.sum()))
    if "mask" in data and not entry.get("fill"):
        keep[_with_lesion(entry["mask"], data["image"].affine.numpy(), len(image))] = False
    vector = data["vector"]
    if entry.get("shown_as"):
        vector = torch.cat([one_hot(entry["shown_as"]).expand(len(vector), -1), vector[:, -1:]], 1)
    return image[keep].half(), int(keep.sum()) / count, vector[keep]


def _bright(flair: str, image: MetaTensor, load: LoadHead) -> np.ndarray:
    """Bright spots of another scan of the same session, bool [H, W, D] on the grid of a head."""
    other = load({"image": flair, "modality": "flair"})
    spots = bright_spots(*(other[key].as_tensor()[0].numpy() for key in ("image", "brain")))
    return resample(spots, other["image"].affine.numpy(), image.affine.numpy(), image.shape[1:], nearest=True)


def _with_lesion(path: str, grid: np.ndarray, depth: int) -> list[int]:
    """Numbers of the slices of a grid (affine [4, 4]) next to any voxel of a lesion label, however few they are."""
    label = read_volume(path, allow_constant=True)
    relative = np.linalg.inv(grid) @ label.affine.numpy()
    heights = np.argwhere(label[0].numpy() > 0) @ relative[2, :3] + relative[2, 3]
    heights = heights.round(3)  # on a kept slice it is a whole number but for rounding
    touched = {*np.floor(heights).astype(int).tolist(), *np.ceil(heights).astype(int).tolist()}
    return sorted(k for k in touched if 0 <= k < depth)

"""Training batches of image pairs for registration, brought to the model's grid as for inference and augmented as a batch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from diffzoo.imaging.fields import places, sample
from diffzoo.imaging.geometry import orient, spacing, to_slices
from diffzoo.imaging.io.frames import frames_of, read_frame, read_label
from diffzoo.imaging.registration import Align
from diffzoo.tasks.register.pairs import model_grid, on_grid, unit_levels
from diffzoo.training.draws import BatchDataset


class RegistrationPairs(BatchDataset):
    """Batches of pairs; item i of epoch e is the same batch on every run and after a resume.

    entries: {"image": path, optional "label"} (0 ... K; all entries have one, or none counts). Of single images any ordered two
    are a pair; of 4D files the two `phases` of each are, moving and fixed, in either order with `both_ways`. Images go
    through the steps of `tasks.register.pairs.LoadPair` once: `grid_mm`,
    `size`, and `align`, which is found once for each image from the first one (of its file), and so for every pair.
    Augmentation: both images turned, zoomed and shifted alike, mirrored along axes of `flips`; the moving one a little more by
    itself (`jitter`: the size of that, 1 for up to about 3 degrees, 3 % and 1.5 voxels); each with its own gamma.
    Gives "image" (fixed) and "moving" [B, 1, *size] in [0, 1], and "label" and "moving_label" where known. Raises ValueError
    where there is no pair to draw, and InputError for files that cannot be read.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        size: Sequence[int],
        grid_mm: float | Sequence[float] | None = 1.0,
        align: Align | None = None,
        phases: tuple[int, int] = (0, 1),
        both_ways: bool = True,
        flips: Sequence[int] = (0,),
        jitter: float = 1.0,
        batch_size: int = 1,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        self.between = not (entries and all(frames_of(entry["image"]) for entry in entries))
        if self.between and len(entries) < 2:
            raise ValueError(f"no pair can be drawn from {len(entries)} entries: two images are needed, or 4D files")
        super().__init__(batch_size, batches, seed)
        self.size = tuple(size)
        self.both_ways = both_ways
        self.flips, self.jitter, self.augment = tuple(flips), jitter, augment
        labelled = all(entry.get("label") for entry in entries)
        items = [self._item(e, k, grid_mm, labelled) for e in entries for k in ((0,) if self.between else phases)]
        self.images = torch.stack([image for image, *_ in items]).half()
        self.labels = torch.stack([label for _, label, *_ in items]).to(torch.uint8) if labelled else None
        grids, scans = zip(*[(grid, scan) for *_, grid, scan in items], strict=True)
        firsts = [scans[0 if self.between else k - k % 2] for k in range(len(scans))]
        worlds = [np.eye(4) if align is None or f is m else align(f, m) for f, m in zip(firsts, scans, strict=True)]
        maps = [np.linalg.inv(w) @ g for w, g in zip(worlds, grids, strict=True)]
        keep = [*range(len(self.size)), 3]
        self.to_first = torch.stack([torch.from_numpy(m[:, keep]) for m in maps])  # voxel -> world of the first image
        self.from_first = torch.stack([torch.from_numpy(np.linalg.inv(m)[keep]) for m in maps])
        self.sizes = torch.tensor([spacing(g)[: len(self.size)] for g in grids])

    def _item(self, entry: Mapping, phase: int, grid_mm, labelled: bool) -> tuple[Tensor, Tensor | None, np.ndarray, MetaTensor]:
        """Image and label [1, *size] on the model's grid of the image, the grid's affine, and the oriented scan."""
        stored = read_frame(entry["image"], phase)
        label = read_label(entry["label"], phase, stored, str(entry["image"])) if labelled else None
        flat = len(self.size) == 2
        scan = to_slices(stored) if flat else orient(stored, "RAS")
        grid = model_grid(scan, grid_mm, self.size)
        affine = grid.affine.numpy().astype(np.float64)
        matrix = np.linalg.inv(stored.affine.numpy().astype(np.float64)) @ affine
        low, high = unit_levels(stored)
        parts = [((on_grid(stored, matrix, grid.shape[1:]) - low) / (high - low)).clamp(0, 1)]
        parts.append(on_grid(label, matrix, grid.shape[1:], nearest=True) if labelled else None)
        image, label = (part[..., 0] if flat and part is not None else part for part in parts)
        return image, label, affine, scan

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        moving, fixed = self._draw(generator)
        here = homogeneous(places(self.size))  # [1, d + 1, *S]
        shared = self._shared(self.sizes[fixed], generator) if self.augment else None
        own = self._own(self.sizes[fixed], generator) if self.augment else None
        where = here if shared is None else _mapped(shared, here)
        to_moving = (self.from_first[moving] @ self.to_first[fixed]).float()  # voxels of the fixed grid -> of the moving one
        moved = _mapped(to_moving, where if own is None else _mapped(shared @ own, here))
        batch = {}
        for name, pick, at in (("image", fixed, where), ("moving", moving, moved)):
            at = at[:, :-1].expand(self.batch_size, *[-1] * (len(self.size) + 1))
            image = sample(self.images[pick].float(), at).clamp(0, 1)
            batch[name] = image ** self._gamma(generator) if self.augment else image
            if self.labels is not None:
                batch["label" if name == "image" else "moving_label"] = sample(self.labels[pick].float(), at, True, fill=0.0)
        return batch

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Numbers [B] of the moving and of the fixed images."""
        count = len(self.images)
        if self.between:
            moving = torch.randint(count, (self.batch_size,), generator=generator)
            return moving, (moving + torch.randint(1, count, (self.batch_size,), generator=generator)) % count
        moving = 2 * torch.randint(count // 2, (self.batch_size,), generator=generator)
        turned = torch.randint(2 if self.both_ways else 1, (self.batch_size,), generator=generator)
        return moving + turned, moving + 1 - turned

    def _gamma(self, generator: torch.Generator) -> Tensor:
        draws = 0.4 * torch.rand(self.batch_size, generator=generator) - 0.2
        return draws.exp().view(-1, 1, *[1] * len(self.size))

    def _shared(self, sizes: Tensor, generator: torch.Generator) -> Tensor:
        """Maps [B, d + 1, d + 1] of voxels: turns up to about 8 degrees, zooms up to 10 %, shifts up to 4 %, mirrors."""
        matrix = self._affine(sizes, 0.14, 0.1, 0.04 * torch.tensor(self.size), generator)
        for axis in self.flips:
            flip = torch.rand(self.batch_size, generator=generator) < 0.5
            mirror = torch.eye(len(self.size) + 1)
            mirror[axis, axis], mirror[axis, -1] = -1, self.size[axis] - 1
            matrix = torch.where(flip[:, None, None], matrix @ mirror, matrix)
        return matrix

    def _own(self, sizes: Tensor, generator: torch.Generator) -> Tensor:
        """Small maps [B, d + 1, d + 1] of the moving image alone."""
        shift = torch.full((len(self.size),), 1.5 * self.jitter)
        return self._affine(sizes, 0.05 * self.jitter, 0.03 * self.jitter, shift, generator)

    def _affine(self, sizes: Tensor, turn: float, zoom: float, shift: Tensor, generator: torch.Generator) -> Tensor:
        """Random maps about the grid's middle, turns being turns in mm however long the voxel's sides."""
        count, d = sizes.shape
        draws = 2 * torch.rand((count, d, d), generator=generator) - 1
        power = (
            turn * torch.triu(draws, 1) - turn * torch.triu(draws, 1).mT + zoom * torch.diag_embed(draws.diagonal(dim1=1, dim2=2))
        )
        linear = torch.matrix_exp(power) * sizes[:, None, :] / sizes[:, :, None]
        middle = (torch.tensor(self.size) - 1) / 2
        offset = middle - linear @ middle + shift * (2 * torch.rand((count, d), generator=generator) - 1)
        return _closed(torch.cat([linear, offset[..., None]], 2))


def homogeneous(where: Tensor) -> Tensor:
    """Places [B, d, *S] with a 1 appended, [B, d + 1, *S]."""
    return torch.cat([where, torch.ones_like(where[:, :1])], 1)


def _closed(matrix: Tensor) -> Tensor:
    """Affine maps [B, d, d + 1] with their last row, [B, d + 1, d + 1]."""
    last = torch.zeros_like(matrix[:, :1])
    last[..., -1] = 1
    return torch.cat([matrix, last], 1)


def _mapped(matrix: Tensor, where: Tensor) -> Tensor:
    """Maps [B, d + 1, d + 1] of homogeneous places [B or 1, d + 1, *S]."""
    return torch.einsum("bij,bj...->bi...", matrix, where.expand(len(matrix), *where.shape[1:]))

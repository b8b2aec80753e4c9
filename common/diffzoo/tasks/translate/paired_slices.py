"""Training batches of simulated pairs: axial slices of a head in T1 and T2, and its CT."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import orient, spacing
from diffzoo.imaging.heads import TOP, head_grid, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.paired_heads import CLASSES, CSF, air_share, average_head, head_labels, soft_maps
from diffzoo.imaging.paired_render import render, smooth_noise
from diffzoo.tasks.translate.conditions import conditions
from diffzoo.tasks.translate.head_ct import SOURCES, heights, reached, scaled, to_model
from diffzoo.training.brains import LEAST_BRAIN, warped
from diffzoo.training.draws import BatchDataset

TISSUES = len(CLASSES)


class PairedSlices(BatchDataset):
    """Batches of simulated pairs of MR and CT; item i of epoch e is the same batch on every run and after a resume.

    entries: {"image" or "t1": T1 of a head with its skull, optional "t2" of the same session, "weight": 1.0}, whose tissues are
    found once (`imaging.paired_heads`); template: entries of the average head, in the order of `average_head`. An item is a slice
    with brain in it, bent, turned and flipped (`brains.warped`), shown as T1, T2 and CT (`imaging.paired_render`); with a
    probability of `real` each of its MR images is the scan itself, where there is one. T1, T2 or both are given, a third each.
    Gives "image" [B, 1, *size], the CT in model units, "concat" [B, 5, *size] and "vector" [B, 4] as `conditions`. Raises
    InputError where no entry or no template is given.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        template: Sequence[Mapping],
        size: Sequence[int] = (96, 112),
        grid_mm: float = 2.0,
        batch_size: int = 8,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
        real: float = 0.4,
    ) -> None:
        super().__init__(batch_size, batches, seed)
        if not entries or not template:
            raise InputError("simulated pairs need T1 scans of whole heads, and the four files of the average head")
        self.size, self.grid_mm, self.augment, self.real = tuple(size), grid_mm, augment, real
        average = average_head([read_volume(entry["image"]) for entry in template])
        held = [self._person(entry, average) for entry in entries]
        self.slices, self.positions, self.scanned, self.weights = (torch.cat(parts) for parts in zip(*held, strict=True))

    def _person(self, entry: Mapping, average: tuple) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slices [N, 9 + 1 + 2, *size] (tissues, air, scans; half precision), heights [N], scanned [N, 2], weights [N]."""
        labels, scan = head_labels(read_volume(entry.get("t1") or entry["image"]), *average)
        affine, head = labels.affine.numpy().astype(np.float64), labels.as_tensor()[0].numpy() > 0
        grid, shape = head_grid(reached(head, spacing(affine)[2]), affine, self.grid_mm, self.size)
        maps = soft_maps(labels, grid, shape)
        inside, here = maps[0] < 0.5, torch.tensor([1.0, float(bool(entry.get("t2")))])
        scans = [scaled(resample(scan.as_tensor()[0].numpy().clip(min=0), affine, grid, shape), inside)]
        scans.append(_placed(entry["t2"], grid, inside) if here[1] else np.zeros_like(scans[0]))
        stack = np.concatenate([maps, air_share(maps, spacing(grid))[None], np.stack(scans)]).astype(np.float16)
        starts = [(n - want) // 2 for n, want in zip(shape, self.size, strict=False)]
        stack = stack[:, starts[0] : starts[0] + self.size[0], starts[1] : starts[1] + self.size[1]]
        keep = torch.from_numpy(maps[CSF:].sum(0).mean((0, 1)) >= LEAST_BRAIN)
        count = int(keep.sum())
        weight = torch.full((count,), float(entry.get("weight", 1.0)) / max(1, count))
        parts = torch.from_numpy(stack).movedim(-1, 0)[keep]
        return parts, heights(inside, spacing(grid)[2])[keep], here.expand(count, -1), weight

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        x = self.slices[drawn].float()
        x = warped(x, generator) if self.augment else x
        maps, air, scans = x.split([TISSUES, 1, len(SOURCES)], 1)
        maps = torch.cat([(1 - maps[:, 1:].sum(1, keepdim=True)).clamp(min=0), maps[:, 1:]], 1)
        mr, hu = render(maps, air, generator)
        inside = (maps[:, :1] < 0.5).to(mr)
        taken = torch.rand((len(mr), len(SOURCES)), generator=generator).lt(self.real)
        taken = (taken & (self.scanned[drawn] > 0)).view(*mr.shape[:2], 1, 1)
        mr = torch.where(taken, shaded(scans, generator) * inside, mr)
        pattern = torch.randint(3, (len(mr),), generator=generator)
        given = torch.stack([pattern != 1, pattern != 0], 1).to(mr)
        told = conditions(mr, given, torch.ones(len(mr), 1), inside, self.positions[drawn])
        return {"image": to_model(hu), **told}


def shaded(scans: Tensor, generator: torch.Generator) -> Tensor:
    """Scans [B, 2, H, W] with a gamma and a smooth shading of their own."""
    gamma = (0.12 * torch.randn((*scans.shape[:2], 1, 1), generator=generator)).exp()
    field = torch.cat([smooth_noise(scans, 40, generator) for _ in range(scans.shape[1])], 1)
    return torch.where(scans > 0, scans.clamp(min=1e-6) ** gamma * (0.12 * field).exp(), 0).clamp(0, TOP)


def _placed(path: str, grid: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A T2 of the same session on the grid of a head, in model units; places in the scanner are trusted."""
    scan = orient(read_volume(path), "RAS")
    values = resample(scan.as_tensor()[0].numpy().clip(min=0), scan.affine.numpy().astype(np.float64), grid, inside.shape)
    return scaled(values, inside)

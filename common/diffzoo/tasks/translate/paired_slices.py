"""Training batches of pairs, real or simulated: axial slices of a head in T1 and T2, and its CT."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import orient, spacing
from diffzoo.imaging.heads import TOP, head_grid, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.paired_heads import CLASSES, CSF, MUSCLE, air_share, average_head, head_labels, soft_maps
from diffzoo.imaging.paired_render import render, smooth_noise
from diffzoo.imaging.registration import Align
from diffzoo.tasks.translate.conditions import conditions
from diffzoo.tasks.translate.head_ct import SOURCES, TARGETS, LoadHeadMR, heights, reached, scaled, to_model
from diffzoo.tasks.translate.moments import of_batches
from diffzoo.tasks.translate.roles import with_first
from diffzoo.training.brains import LEAST_BRAIN, warped
from diffzoo.training.draws import BatchDataset

TISSUES = len(CLASSES)
MOMENTS = 25  # batches that tell the moments
LEAST_HEAD = 0.05  # share of a slice that is head; with less it teaches nothing


class PairedSlices(BatchDataset):
    """Batches of pairs of MR and CT, real or simulated; item i of epoch e is the same batch on every run and after a resume.

    entries: {"image", "t1", optional "t2" of the same session, "weight": 1.0} of heads with their skull, and either "ct" of the
    same person or "template", the four files of the average head in the order of `average_head`. With a CT the images are taken
    as they are, as `LoadHeadMR` reads them, those on other grids brought onto the first one by `align`. Of the others the tissues
    are found once (`imaging.paired_heads`); an item is shown as T1, T2 and CT (`imaging.paired_render`), and each of its MR
    images is with a probability of `real` the scan itself, where there is one.

    An item is a slice with brain in it (of a real pair: with head), bent, turned and flipped (`brains.warped`). T1, T2 or both
    are given, a third each, of a real pair those that there are. Gives "image" [B, 1, *size], the CT in model units, "concat"
    [B, 5, *size] and "vector" [B, 4] as `conditions`. Raises InputError without entries, and for one without CT and template.
    """

    roles, truth = (*SOURCES, *TARGETS), "ct"  # that an entry may name, and the one that makes it a real pair

    def __init__(
        self,
        entries: Sequence[Mapping],
        size: Sequence[int] = (96, 112),
        grid_mm: float = 2.0,
        batch_size: int = 8,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
        real: float = 0.4,
        align: Align | None = None,
    ) -> None:
        super().__init__(batch_size, batches, seed)
        if not entries:
            raise InputError("pairs of MR and CT need scans of whole heads")
        self.size, self.grid_mm, self.augment, self.real = tuple(size), grid_mm, augment, real
        self.load = LoadHeadMR(grid_mm, self.size, align=align)
        self.averages: dict[tuple, tuple] = {}  # by their files: most entries share one
        people = [self._person(entry) for entry in entries]
        parts = [torch.cat(parts) for parts in zip(*people, strict=True)]
        self.slices, self.positions, self.scanned, self.paired, self.weights = parts

    def _person(self, entry: Mapping) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Slices [N, 13, *size] (9 tissues, air, 2 scans, CT; half precision), heights, scanned [N, 2], paired, weights [N]."""
        entry = with_first(entry, self.roles)
        stack, places, here, keep = self._real(entry) if entry.get(self.truth) else self._simulated(entry)
        starts = [(n - want) // 2 for n, want in zip(stack.shape[1:], self.size, strict=False)]
        stack = stack[:, starts[0] : starts[0] + self.size[0], starts[1] : starts[1] + self.size[1]]
        count = int(keep.sum())
        flags = here.expand(count, -1), torch.full((count,), float(bool(entry.get(self.truth))))
        weight = torch.full((count,), float(entry.get("weight", 1.0)) / max(1, count))
        return torch.from_numpy(stack).movedim(-1, 0)[keep], places[keep], *flags, weight

    def _real(self, entry: Mapping) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
        """Stack [13, H, W, D], heights [D], scanned [2] and kept [D] of a person with a CT: its tissues are head or not."""
        data = self.load(entry)
        scans, ct, inside = (data[key].as_tensor().numpy() for key in ("image", "truth", "inside"))
        maps = np.zeros((TISSUES + 1, *inside.shape[1:]), np.float32)
        maps[0], maps[MUSCLE] = 1.0 - inside[0], inside[0]
        keep = torch.from_numpy(inside[0].mean((0, 1)) >= LEAST_HEAD)
        return np.concatenate([maps, scans, ct]).astype(np.float16), data["position"], data["given"], keep

    def _simulated(self, entry: Mapping) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
        """The same of a T1 whose CT is simulated."""
        labels, scan = head_labels(read_volume(entry.get("t1") or entry["image"]), *self._average(entry))
        affine, head = labels.affine.numpy().astype(np.float64), labels.as_tensor()[0].numpy() > 0
        grid, shape = head_grid(reached(head, spacing(affine)[2]), affine, self.grid_mm, self.size)
        maps = soft_maps(labels, grid, shape)
        inside, here = maps[0] < 0.5, torch.tensor([1.0, float(bool(entry.get("t2")))])
        scans = [scaled(resample(scan.as_tensor()[0].numpy().clip(min=0), affine, grid, shape), inside)]
        scans.append(_placed(entry["t2"], grid, inside) if here[1] else np.zeros_like(scans[0]))
        parts = [maps, air_share(maps, spacing(grid))[None], np.stack(scans), np.zeros_like(maps[:1])]
        keep = torch.from_numpy(maps[CSF:].sum(0).mean((0, 1)) >= LEAST_BRAIN)
        return np.concatenate(parts).astype(np.float16), heights(inside, spacing(grid)[2]), here, keep

    def _average(self, entry: Mapping) -> tuple:
        files = tuple(entry.get("template") or ())
        if not files:
            raise InputError(
                f"{entry['image']}: has no CT to learn from: put that of the same person beside it, named as it is but for _ct"
            )
        if files not in self.averages:
            self.averages[files] = average_head([read_volume(path) for path in files])
        return self.averages[files]

    def moments(self) -> Tensor:
        """`moments.moments` of the intensities of the first batches, for the linear baselines."""
        return of_batches(self[k] for k in range(min(MOMENTS, len(self))))

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        x = self.slices[drawn].float()
        x = warped(x, generator) if self.augment else x
        maps, air, scans, ct = x.split([TISSUES, 1, len(SOURCES), 1], 1)
        maps = torch.cat([(1 - maps[:, 1:].sum(1, keepdim=True)).clamp(min=0), maps[:, 1:]], 1)
        mr, hu = render(maps, air, generator)
        inside, scanned, paired = (maps[:, :1] < 0.5).to(mr), self.scanned[drawn], self.paired[drawn] > 0
        taken = torch.rand((len(mr), len(SOURCES)), generator=generator).lt(self.real)
        taken = ((taken | paired[:, None]) & (scanned > 0)).view(*mr.shape[:2], 1, 1)
        mr = torch.where(taken, shaded(scans, generator) * inside, mr)
        pattern = torch.randint(3, (len(mr),), generator=generator)
        given = torch.stack([pattern != 1, pattern != 0], 1).to(mr)
        here = torch.where((given * scanned).sum(1, keepdim=True) > 0, given * scanned, scanned)
        given = torch.where(paired[:, None], here, given)
        known = conditions(mr, given, torch.ones(len(mr), 1), inside, self.positions[drawn])
        return {"image": torch.where(paired.view(-1, 1, 1, 1), ct * inside, to_model(hu)), **known}


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

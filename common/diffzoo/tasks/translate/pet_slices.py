"""Training batches for PET from fewer counts and T1: uptake of real heads' tissues, scanned, counted, with lesions of its own."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.guide import low_pass
from diffzoo.imaging.paired_heads import CSF, GREY
from diffzoo.imaging.paired_render import render
from diffzoo.imaging.pet import activity, blob, counted, scanned
from diffzoo.tasks.translate.conditions import conditions
from diffzoo.tasks.translate.paired_slices import TISSUES, PairedSlices, shaded
from diffzoo.tasks.translate.pet import FULL, PET_ROLES, LoadPET, centre_of
from diffzoo.training.brains import LEAST_BRAIN, warped
from diffzoo.training.draws import uniform

MARGIN = 7  # pixels of the window that grows a brain by 6 mm
LEVEL = 0.95  # quantile of the brain that is 1 in model units


class PetSlices(PairedSlices):
    """Batches of axial slices of PET at many and at few counts and T1; item i of epoch e is the same batch on every run.

    entries: people with "pet", "fullpet" and optional "t1", which are taken as they are (`pet.LoadPET`), and T1 heads with skull,
    as `PairedSlices` takes those without CT, with the four files of the average head under "template": their PET is simulated,
    their T1 is the scan itself with a probability of `real`. counts: ends of the mean counts of a pixel of grey matter,
    log-uniform; spread_mm: full widths of the scanner's point spread; filter_mm: of the filter after it. A slice has a lesion in
    PET alone with a probability of `lesions`, in T1 alone with half of it. Given are PET, T1 or both (a third each).
    Gives "image" [B, 1, *size], the PET of full counts, 1 at the level of the cortex, less the given one under a Gaussian of
    `centre_mm` at half maximum (`pet.centre_of`; 0: nothing less), "concat" [B, 5, *size] and "vector" [B, 4].
    Raises InputError for an entry of neither kind.
    """

    roles, truth = (*PET_ROLES, FULL), FULL

    def __init__(
        self,
        entries: Sequence[Mapping],
        counts: tuple[float, float] = (1.5, 40.0),
        spread_mm: tuple[float, float] = (4.0, 6.5),
        filter_mm: float = 4.0,
        lesions: float = 0.3,
        centre_mm: float = 6.0,
        **options,
    ) -> None:
        for entry in entries:
            if not entry.get("template") and not entry.get(self.truth):
                text = "put that of the same person beside it, named as it is but for _fullpet"
                raise InputError(f"{entry['image']}: has no PET of full counts to learn from: {text}")
        super().__init__(entries, **options)
        self.counts, self.spread_mm, self.filter_mm, self.lesions = tuple(counts), tuple(spread_mm), filter_mm, lesions
        self.centre_mm = centre_mm

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        x = self.slices[drawn].float()
        x = warped(x, generator) if self.augment else x
        maps, air, scans, full = x.split([TISSUES, 1, 2, 1], 1)
        maps = torch.cat([(1 - maps[:, 1:].sum(1, keepdim=True)).clamp(min=0), maps[:, 1:]], 1)
        brain = maps[:, CSF:].sum(1, keepdim=True)
        inside = torch.nn.functional.max_pool2d((low_pass(brain, 1.0) > 0.5).float(), MARGIN, 1, MARGIN // 2)
        t1 = self._t1(maps, air, scans, self.scanned[drawn], generator)
        truth, few = self._pet(maps, brain, generator)
        level = levels(truth, inside) * _spread(truth, 0.2, generator)  # that of a slice is not that of its scan
        t1 = self._hidden(t1 / levels(t1, inside) * _spread(t1, 0.1, generator), brain, self.lesions / 2, generator)[0]
        paired = (self.paired[drawn] > 0).view(-1, 1, 1, 1)
        truth, few = torch.where(paired, full, truth / level), torch.where(paired, scans[:, 1:], few / level)
        image = torch.cat([few, torch.where(paired, scans[:, :1], t1).clamp(0, 2)], 1) * inside
        pattern = torch.where(self.scanned[drawn][:, 0] > 0, torch.randint(3, (len(image),), generator=generator), 0)
        given = torch.stack([pattern != 1, pattern != 0], 1).to(image)
        known = conditions(image, given, torch.ones(len(image), 1), inside, self.positions[drawn])
        centre = centre_of(image[:, :1], given[:, :1], inside, self.centre_mm / self.grid_mm)
        return {"image": truth.clamp(0, 2) * inside - centre, **known}

    def _real(self, entry: Mapping) -> tuple[np.ndarray, Tensor, Tensor, Tensor]:
        """Stack [13, H, W, D], heights [D], whether T1 and PET are there [2], and kept [D], of a person with a full PET."""
        data = LoadPET(self.grid_mm, self.size)(entry)
        (pet, t1), (full,), (inside,) = (data[key].as_tensor().numpy() for key in ("image", "truth", "inside"))
        maps = np.zeros((TISSUES + 1, *inside.shape), np.float32)
        maps[0], maps[GREY] = 1.0 - inside, inside
        here, keep = torch.tensor([float(data["given"][1]), 1.0]), torch.from_numpy(inside.mean((0, 1)) >= LEAST_BRAIN)
        stack = np.concatenate([maps, np.stack([t1, pet, full])])
        return stack.astype(np.float16), data["position"], here, keep

    def _t1(self, maps: Tensor, air: Tensor, scans: Tensor, here: Tensor, generator: torch.Generator) -> Tensor:
        """T1 [B, 1, H, W]: the scan, or drawn from the tissues."""
        mr, _ = render(maps, air, generator)
        taken = (torch.rand(len(mr), 1, generator=generator) < self.real) & (here[:, :1] > 0)
        return torch.where(taken.view(-1, 1, 1, 1), shaded(scans, generator)[:, :1], mr[:, :1])

    def _pet(self, maps: Tensor, brain: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """PET [B, 1, H, W] without noise, and at few counts, both as blurred by scanner and filter."""
        uptake, _ = self._hidden(activity(maps, generator), brain, self.lesions, generator)
        low, high = (torch.tensor(c).log() for c in self.counts)
        counts = (low + (high - low) * torch.rand(len(maps), 1, 1, 1, generator=generator)).exp()
        width = uniform(*self.spread_mm, generator) / self.grid_mm
        seen, after = scanned(uptake, width), self.filter_mm / self.grid_mm
        return scanned(seen, after), counted(seen, counts, after, generator)

    @staticmethod
    def _hidden(image: Tensor, brain: Tensor, chance: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [B, 1, H, W] of which some have a brighter or darker spot in the brain, and where it is."""
        spots = torch.zeros_like(image)
        for k in range(len(image)):
            places = (brain[k, 0] > 0.5).nonzero()
            if len(places) and float(torch.rand((), generator=generator)) < chance:
                centre = places[int(torch.randint(len(places), (), generator=generator))].tolist()
                spots[k, 0] = blob(image.shape[2:], centre, uniform(1.5, 5.0, generator))
        factors = torch.where(torch.rand(len(image), 1, 1, 1, generator=generator) < 0.6, 1.8, 0.35)
        level = levels(image, brain > 0.5)
        return image + spots * (factors * level.clamp(min=1e-3) * 0.8 - image), spots


def levels(images: Tensor, inside: Tensor) -> Tensor:
    """The 95th percentile [B, 1, 1, 1] of images [B, 1, H, W] within masks; 1 where a mask is empty or dark."""
    values = [image[mask.bool()] for image, mask in zip(images, inside, strict=True)]
    quantiles = [torch.quantile(v, LEVEL) if len(v) else torch.ones(()) for v in values]
    level = torch.stack(quantiles).view(-1, 1, 1, 1)
    return torch.where(level > 1e-3, level, torch.ones_like(level))


def _spread(images: Tensor, sd: float, generator: torch.Generator) -> Tensor:
    """A factor [B, 1, 1, 1] for each image, log-normal."""
    return (sd * torch.randn(len(images), 1, 1, 1, generator=generator)).exp()

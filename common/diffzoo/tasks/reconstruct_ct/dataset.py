"""Training batches for limited-angle CT: real slices and phantoms, turned and scaled, with the first image of a limited arc."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from diffzoo.atomic import atomic
from diffzoo.diffusion.noise import stream
from diffzoo.imaging.geometry import crop_slices, parse_slices, spacing, to_slices
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.phantoms import cormack_to_hu, phantom
from diffzoo.imaging.tomography import attenuation_of, count_photons, first_image
from diffzoo.operators.beams import ParallelBeam, arc, covering
from diffzoo.operators.radon import Radon
from diffzoo.training.draws import BatchDataset, below, uniform

GROUP = 8  # items made together
CANVAS = 256  # pixels of the images held in memory
FIELD = {"chest": 400.0, "abdomen": 400.0, "head": 245.0, "luggage": 400.0}  # mm across a phantom


class LimitedAngle(BatchDataset):
    """Batches of whole CT slices and their limited arcs; item i of epoch e is the same batch on every run and after a resume.

    entries: {"image": CT volume in HU, optional "slices": "0:58", "scale": "cormack", "weight": 0.5}; phantoms: number of
    simulated slices of each kind, `phantom_share` of what is drawn. A bank of `items` turned, scaled and smoothly bent slices of
    each of `sizes` (pixels), with arcs (degrees from angle 0, one view a degree) and doses (photons a ray, none in one of four)
    of their own, is made once and kept in the folder `store`: first images take longer than a step. A batch has one size, drawn
    by `shares`, and as many items as keep its pixels about those of `batch_size` at the largest; half of its items are turned by
    half a turn, which leaves an arc as it is.
    first: steps and weight of the first images (`imaging.tomography.first_image`), as the inference makes them.
    Gives "concat" [B, 1, n, n], the first image in attenuation relative to water, and "image" [B, 1, n, n], the truth less that.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        phantoms: Mapping[str, int],
        phantom_share: float = 0.5,
        sizes: Sequence[int] = (128, 192, 256),
        items: Sequence[int] = (100, 100, 100),
        shares: Sequence[float] | None = None,
        batch_size: int = 4,
        batches: int = 100,
        arcs: tuple[float, float] = (55.0, 125.0),
        doses: tuple[float, float] = (1e5, 1e7),
        seed: int = 0,
        augment: bool = True,
        store: str | None = None,
        first: tuple[int, float] = (200, 0.001),
    ) -> None:
        super().__init__(batch_size, batches, seed)
        self.sizes, self.augment = tuple(sizes), augment
        self.shares = torch.tensor([1.0] * len(sizes) if shares is None else list(shares))
        recipe = TomogramRecipe(entries, phantoms, phantom_share, tuple(arcs), tuple(doses), seed, augment, tuple(first))
        self.banks = [banked(recipe, n, count, store) for n, count in zip(sizes, items, strict=True)]

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        place = int(torch.multinomial(self.shares, 1, generator=generator))
        count = max(1, round(self.batch_size * (max(self.sizes) / self.sizes[place]) ** 2))
        bank = self.banks[place]
        picked = bank[torch.randint(len(bank), (count,), generator=generator)].float()
        turned = torch.rand(count, 1, 1, 1, generator=generator) < (0.5 if self.augment else 0.0)
        truth, first = torch.where(turned, picked.flip(2, 3), picked).split(1, 1)
        return {"image": truth - first, "concat": first}


@dataclass(frozen=True)
class TomogramRecipe:
    """What a bank of truths and first images is made of; options as `LimitedAngle` explains them."""

    entries: Sequence[Mapping]
    phantoms: Mapping[str, int]
    phantom_share: float
    arcs: tuple[float, float]
    doses: tuple[float, float]
    seed: int
    augment: bool
    first: tuple[int, float] = (200, 0.001)

    def make(self, size: int, count: int) -> Tensor:
        """Truths and first images [count, 2, n, n] in half precision. Raises ValueError where there is nothing to draw from."""
        stacks = [_real(entry) for entry in self.entries]
        stacks += [_simulated(kind, n, self.seed) for kind, n in self.phantoms.items() if n]
        if not stacks:
            raise ValueError("no training slices: no volumes and no phantoms are given")
        weights = self.weights(len(stacks))
        views = math.ceil(max(self.arcs))
        op = Radon(ParallelBeam(arc(views, views), *covering((size, size))), (size, size))
        banks = []
        for first in range(0, count, GROUP):
            generator = torch.Generator().manual_seed(stream(self.seed, size, first))
            banks.append(self._group(op, stacks, weights, min(GROUP, count - first), generator))
        return torch.cat(banks).half()

    def weights(self, stacks: int) -> Tensor:
        """Probability of each stack, the real ones first."""
        real = [float(entry.get("weight", 1.0)) for entry in self.entries]
        shares = [1.0] * (stacks - len(real))
        share = self.phantom_share if real and shares else float(not real)
        return torch.tensor([(1 - share) * w / sum(real) for w in real] + [share * w / sum(shares) for w in shares])

    def _group(self, op: Radon, stacks: list, weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
        drawn = [self._draw(stacks, weights, op.shape[0], generator) for _ in range(count)]
        truth = torch.stack([x for x, _ in drawn])
        y, measured = op.A(truth), torch.ones(count, 1, len(op.beam.angles), 1)
        for k, (_, mm) in enumerate(drawn):
            if below(4, generator):
                low, high = (math.log(d) for d in self.doses)
                dose = math.exp(uniform(low, high, generator))
                y[k] = count_photons(mm * y[k : k + 1], dose, [generator])[0] / mm
            measured[k, :, round(uniform(*self.arcs, generator)) :] = 0
        return torch.cat([truth, first_image(op, y, measured, *self.first)], 1)

    def _draw(self, stacks: list, weights: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """A slice [1, n, n] and the mm of its pixels."""
        stack, field = stacks[int(torch.multinomial(weights, 1, generator=generator))]
        image = stack[below(len(stack), generator)].float()[None, None]
        turn, zoom, shift, flip = 0.0, 1.0, (0.0, 0.0), 1.0
        if self.augment:
            free = uniform(0, 1, generator) < 0.25  # one in four at any angle
            turn = math.radians(uniform(-180, 180, generator) if free else uniform(-12, 12, generator))
            zoom = math.exp(uniform(-0.2, 0.2, generator))
            shift = (uniform(-0.08, 0.08, generator), uniform(-0.08, 0.08, generator))
            flip = 1.0 if below(2, generator) else -1.0
        cos, sin = math.cos(turn) * zoom, math.sin(turn) * zoom
        matrix = torch.tensor([[[cos, -sin, shift[0]], [flip * sin, flip * cos, shift[1]]]])
        grid = F.affine_grid(matrix, (1, 1, size, size), align_corners=False)
        if self.augment:  # bent by up to a twentieth of the field or so: shapes that the few real people do not have
            knots = 0.03 * torch.randn((1, 2, 5, 5), generator=generator)
            grid = grid + F.interpolate(knots, (size, size), mode="bicubic", align_corners=True).movedim(1, -1)
        if size < CANVAS:
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        return F.grid_sample(image, grid, align_corners=False)[0], field * zoom / size


def banked(recipe: TomogramRecipe, size: int, count: int, store: str | None) -> Tensor:
    """The bank of that recipe and size [count, 2, n, n], read from the folder `store` where it is kept, else made and kept."""
    if store is None:
        return recipe.make(size, count)
    key = json.dumps([asdict(recipe), size, count], default=str, sort_keys=True)
    path = Path(store) / f"bank_{size}_{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"
    if not path.is_file():
        with atomic(path, own=False) as beside:
            save_file({"bank": recipe.make(size, count)}, beside)
    return load_file(path)["bank"]


def _real(entry: Mapping) -> tuple[Tensor, float]:
    """Slices [D, CANVAS, CANVAS] (half precision, attenuation relative to water) of a volume, and mm across them."""
    volume = to_slices(read_volume(entry["image"]))
    volume = crop_slices(volume, *parse_slices(entry.get("slices", "all"), volume.shape[-1]))
    hu = volume.as_tensor()[0].movedim(-1, 0)
    hu = cormack_to_hu(hu) if entry.get("scale") == "cormack" else hu
    x = attenuation_of(hu)[:, None]
    pads = [max(x.shape[2:]) - n for n in reversed(x.shape[2:])]
    x = F.pad(x, [p for pad in pads for p in (pad // 2, pad - pad // 2)])
    field = x.shape[-1] * max(spacing(volume.affine)[:2])
    return F.interpolate(x, (CANVAS, CANVAS), mode="bicubic", antialias=True)[:, 0].clamp(0, 3).half(), field


def _simulated(kind: str, count: int, seed: int) -> tuple[Tensor, float]:
    """Phantoms [count, CANVAS, CANVAS] of one kind, as `_real`."""
    field = FIELD[kind]
    slices = [
        attenuation_of(phantom(kind, CANVAS, field / CANVAS, stream(seed, ord(kind[0]), k)).flip(0).T) for k in range(count)
    ]
    return torch.stack(slices).half(), field

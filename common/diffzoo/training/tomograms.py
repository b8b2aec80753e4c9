"""Training batches for limited-angle CT: real slices and phantoms, turned and scaled, with the first image of a limited arc."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from diffzoo.diffusion.noise import stream
from diffzoo.imaging.files import read_volume
from diffzoo.imaging.geometry import crop_slices, parse_slices, spacing, to_slices
from diffzoo.imaging.phantoms import cormack_to_hu, phantom
from diffzoo.imaging.tomography import attenuation_of, count_photons, first_image
from diffzoo.operators.beams import ParallelBeam, arc, covering
from diffzoo.operators.radon import Radon

CANVAS = 256  # pixels of the images held in memory
FIELD = {"chest": 400.0, "abdomen": 400.0, "head": 245.0, "luggage": 400.0}  # mm across a phantom


class LimitedAngle(Dataset):
    """Batches of whole CT slices and their limited arcs; item i of epoch e is the same batch on every run and after a resume.

    entries: {"image": CT volume in HU, optional "slices": "0:58", "scale": "cormack", "weight": 0.5}; phantoms: number of
    simulated slices of each kind, `phantom_share` of what is drawn. A batch has one of `sizes` (pixels) and as many items as keep
    its pixels about those of `batch_size` at the largest. Arcs (degrees, from angle 0, one view a degree) and doses (photons a
    ray, no noise in one of four) are drawn an item.
    Gives "concat" [B, 1, n, n], the first image (`imaging.tomography.first_image`) in attenuation relative to water, and "image"
    [B, 1, n, n], the truth less that.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        phantoms: Mapping[str, int],
        phantom_share: float = 0.5,
        sizes: Sequence[int] = (128, 192, 256),
        batch_size: int = 4,
        batches: int = 100,
        arcs: tuple[float, float] = (55.0, 125.0),
        doses: tuple[float, float] = (1e5, 1e7),
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        self.sizes, self.batch_size, self.batches, self.seed = tuple(sizes), batch_size, batches, seed
        self.arcs, self.doses, self.augment, self.epoch = tuple(arcs), tuple(doses), augment, 1
        self.stacks = [_real(entry) for entry in entries] + [_simulated(k, n, seed) for k, n in phantoms.items() if n]
        if not self.stacks:
            raise ValueError("no training slices: no volumes and no phantoms are given")
        real = [float(entry.get("weight", 1.0)) for entry in entries]
        made = [1.0] * (len(self.stacks) - len(real))
        share = phantom_share if real and made else float(not real)
        self.weights = torch.tensor([(1 - share) * w / sum(real) for w in real] + [share * w / sum(made) for w in made])
        views = math.ceil(max(self.arcs))
        self.operators = {n: Radon(ParallelBeam(arc(views, views), *covering((n, n))), (n, n)) for n in set(self.sizes)}

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.batches:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(stream(self.seed, (self.epoch - 1) * self.batches + index))
        size = self.sizes[_below(len(self.sizes), generator)]
        count = max(1, round(self.batch_size * (max(self.sizes) / size) ** 2))
        drawn = [self._draw(size, generator) for _ in range(count)]
        image = torch.stack([x for x, _ in drawn])
        first = self._first(image, [mm for _, mm in drawn], size, generator)
        return {"image": image - first, "concat": first}

    def _draw(self, size: int, generator: torch.Generator) -> tuple[Tensor, float]:
        """A slice [1, n, n] and the mm of its pixels."""
        stack, field = self.stacks[int(torch.multinomial(self.weights, 1, generator=generator))]
        image = stack[_below(len(stack), generator)].float()[None, None]
        turn, zoom, shift, flip = 0.0, 1.0, (0.0, 0.0), 1.0
        if self.augment:
            free = _uniform(0, 1, generator) < 0.25  # one in four at any angle
            turn = math.radians(_uniform(-180, 180, generator) if free else _uniform(-12, 12, generator))
            zoom = math.exp(_uniform(-0.2, 0.2, generator))
            shift = (_uniform(-0.08, 0.08, generator), _uniform(-0.08, 0.08, generator))
            flip = 1.0 if _below(2, generator) else -1.0
        cos, sin = math.cos(turn) * zoom, math.sin(turn) * zoom
        matrix = torch.tensor([[[cos, -sin, shift[0]], [flip * sin, flip * cos, shift[1]]]])
        grid = F.affine_grid(matrix, (1, 1, size, size), align_corners=False)
        if size < CANVAS:
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        return F.grid_sample(image, grid, align_corners=False)[0], field * zoom / size

    def _first(self, image: Tensor, pixels: Sequence[float], size: int, generator: torch.Generator) -> Tensor:
        """The first image of a limited, noisy arc of each image [B, 1, n, n]; pixels: mm of each."""
        op = self.operators[size]
        y, measured = op.A(image), torch.ones(len(image), 1, len(op.beam.angles), 1)
        for k, mm in enumerate(pixels):
            if _below(4, generator):
                low, high = (math.log(d) for d in self.doses)
                dose = math.exp(_uniform(low, high, generator))
                y[k] = count_photons(mm * y[k : k + 1], dose, [generator])[0] / mm
            measured[k, :, round(_uniform(*self.arcs, generator)) :] = 0
        return first_image(op, y, measured)


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
    made = [attenuation_of(phantom(kind, CANVAS, field / CANVAS, stream(seed, ord(kind[0]), k)).flip(0).T) for k in range(count)]
    return torch.stack(made).half(), field


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))

"""Training batches of CT slices with their own high frequencies: of the target alone, so that any source will do (zero-shot)."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.edges import TOP, to_units
from diffzoo.imaging.geometry import crop_slices, orient, parse_slices
from diffzoo.imaging.guide import Guide, RandomGuide
from diffzoo.imaging.phantoms import phantom
from diffzoo.tasks.translate.ct import SOURCE, TARGET, on_grid, plane_grid, read_ct
from diffzoo.tasks.translate.roles import role_of
from diffzoo.training.draws import BatchDataset, below

FIELD = {"chest": 400.0, "abdomen": 400.0, "head": 245.0}  # mm across a phantom
TURN, ZOOM = 12.0, 0.15  # degrees and share of size, at the most, of augmentation


class CTSlices(BatchDataset):
    """Batches of square parts of CT slices and their guides; item i of epoch e is the same batch on every run.

    entries: {"image" or "ct": CT volume in HU, optional "slices": "0:58", "weight": 0.5}; phantoms: number of simulated slices of
    each kind, `phantom_share` of what is drawn. Parts have `size` pixels of `grid_mm` a side, anywhere in the field, turned,
    scaled and mirrored with `augment`; what is told of their high frequencies comes from the part itself by `guide`, disturbed by
    `disturb` (`imaging.guide`). Without `augment` it is that of a translation.
    Gives "image" [B, 1, size, size] in model units and "concat" [B, 2, size, size]. No source image is read: an entry that has
    one raises InputError.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        phantoms: Mapping[str, int],
        phantom_share: float = 0.4,
        size: int = 128,
        grid_mm: float = 2.0,
        batch_size: int = 8,
        batches: int = 100,
        guide: Guide | None = None,
        disturb: RandomGuide | None = None,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        super().__init__(batch_size, batches, seed)
        self.size, self.augment, self.guide, self.disturb = size, augment, guide or Guide(), disturb or RandomGuide()
        self.stacks = [real_slices(entry, grid_mm) for entry in entries]
        drawn = [simulated(kind, count, grid_mm, seed) for kind, count in phantoms.items() if count]
        if not self.stacks and not drawn:
            raise InputError("no training slices: no CT and no phantoms are given")
        real = torch.tensor([float(entry.get("weight", 1.0)) for entry in entries])
        share = phantom_share if entries and drawn else float(not entries)
        self.weights = torch.cat([(1 - share) * real / real.sum(), torch.full((len(drawn),), share / max(1, len(drawn)))])
        self.stacks += drawn

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        parts = torch.stack([self._part(generator) for _ in range(self.batch_size)])
        guides = self.disturb(self.guide, parts, generator) if self.augment else self.guide(parts)
        return {"image": parts, "concat": guides}

    def _part(self, generator: torch.Generator) -> Tensor:
        """A part [1, size, size] of a slice."""
        stack = self.stacks[int(torch.multinomial(self.weights, 1, generator=generator))]
        image = stack[below(len(stack), generator)].float()[None, None]
        turn, zoom, flip = 0.0, 1.0, 1.0
        if self.augment:
            turn, zoom = math.radians(_even(TURN, generator)), math.exp(_even(ZOOM, generator))
            flip = 1.0 if below(2, generator) else -1.0
        half = [max(0.0, (n - self.size) / 2) for n in image.shape[2:]]
        shift = [2 * _even(h, generator) / n for h, n in zip(half, image.shape[2:], strict=True)]
        matrix = part_of(image.shape[2:], self.size, turn, zoom, flip, shift)
        grid = F.affine_grid(matrix, (1, 1, self.size, self.size), align_corners=False)
        return F.grid_sample(image, grid, mode="bicubic", align_corners=False)[0].clamp(0, TOP)


def part_of(field: Sequence[int], size: int, turn: float, zoom: float, flip: float, shift: Sequence[float]) -> Tensor:
    """Matrix [1, 2, 3] of `affine_grid` from a square part onto a field [H, W], each from -1 to 1; `flip` is of axis 0.

    turn in radians; zoom: pixels of the field that one of the part takes; shift: of the middle along each axis of the field.
    """
    cos, sin = math.cos(turn) * zoom * size, math.sin(turn) * zoom * size
    height, width = field  # axis 0 is y of the grid, axis 1 is x
    return torch.tensor([[[cos / width, -flip * sin / width, shift[1]], [sin / height, flip * cos / height, shift[0]]]])


def real_slices(entry: Mapping, grid_mm: float) -> Tensor:
    """Slices [N, H, W] (half precision, model units) of the CT of an entry, its whole plane at `grid_mm`.

    Raises InputError for an entry with a source image, which a training on the target alone never reads.
    """
    path = entry.get(TARGET) or entry["image"]
    if entry.get(SOURCE) is not None or role_of(str(path).rsplit("/", 1)[-1])[0] == SOURCE:
        raise InputError(f"{entry.get(SOURCE) or path}: a source image in the training list: the training takes CT alone")
    volume = orient(read_ct(path)[0], "RAS")
    volume = crop_slices(volume, *parse_slices(entry.get("slices", "all"), volume.shape[-1]))
    return on_grid(volume, *plane_grid(volume.affine.numpy(), volume.shape[1:], grid_mm)).movedim(-1, 0).half()


def simulated(kind: str, count: int, grid_mm: float, seed: int) -> Tensor:
    """Phantoms [count, n, n] of one kind in model units, half precision, axes growing to R and A."""
    size = round(FIELD[kind] / grid_mm)
    slices = [phantom(kind, size, grid_mm, stream(seed, ord(kind[0]), k)).flip(0).T for k in range(count)]
    return to_units(torch.stack(slices)).half()


def _even(bound: float, generator: torch.Generator) -> float:
    return bound * (2 * float(torch.rand((), generator=generator)) - 1)

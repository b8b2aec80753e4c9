"""Training batches of patches with the mask of a reader drawn at random: of real images, and of simulated ones."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.geometry import parse_slices, to_slices
from diffzoo.imaging.phantoms.nodules import nodule
from diffzoo.tasks.segment.scans import CT_WINDOW, cut, middle_of, place, read_image, read_masks, sizes_of, window_of, windowed
from diffzoo.training.draws import BatchDataset

ROOM = 1.4  # side of what is kept of an image, in sides of a patch: room to turn it
ZOOM, SHIFT, LEVEL = 0.15, 3.0, 0.15  # at the most: share of size, pixels, share of the grey levels


class RatedPatches(BatchDataset):
    """Batches of an image and the mask of one reader; item i of epoch e is the same batch on every run.

    entries: {"image": path, "mask": a path or several, one a reader, optional "slices" and "centre" as in `scans.LoadPatch`};
    of a volume each slice that a reader marked is one image. phantoms: number of simulated nodules, `phantom_share` of what is
    drawn. A reader is drawn anew each time an image is (Rahman et al. 2023): each as likely as the others, or with the known
    frequencies of a phantom. With `augment` patches are turned, mirrored, scaled, shifted, and their grey levels stretched.
    Gives "image", the mask coded -1 and 1, and "concat", the image in [0, 1], both [B, 1, size, size].
    Raises InputError where an entry has no mask, and where there is nothing to draw.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        phantoms: int = 0,
        phantom_share: float = 0.85,
        size: int = 64,
        pixel_mm: float = 0.5,
        window: str = "auto",
        batch_size: int = 16,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        super().__init__(batch_size, batches, seed)
        self.size, self.augment, self.room = size, augment, size + 2 * math.ceil((ROOM - 1) / 2 * size)
        real = [item for entry in entries for item in read_entry(entry, self.room, pixel_mm, window)]
        drawn = [simulated(stream(seed, k), self.room, pixel_mm) for k in range(phantoms)]
        if not real and not drawn:
            raise InputError("nothing to learn from: no entries with a marked slice, and no phantoms")
        share = phantom_share if real and drawn else float(not real)
        weights = [(1 - share) / max(1, len(real))] * len(real) + [share / max(1, len(drawn))] * len(drawn)
        self.weights = torch.tensor(weights, dtype=torch.float64)
        most = max(len(masks) for _, masks, _ in real + drawn)
        self.images = torch.stack([image for image, *_ in real + drawn]).half()
        self.masks = torch.stack([F.pad(masks, (0, 0, 0, 0, 0, most - len(masks))) for _, masks, _ in real + drawn])
        self.frequencies = torch.stack([F.pad(often, (0, most - len(often))) for *_, often in real + drawn])

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        items = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        readers = torch.multinomial(self.frequencies[items], 1, generator=generator)[:, 0]
        pair = torch.stack([self.images[items].float(), self.masks[items, readers].float()], 1)
        pair = pair if self.augment else pair[..., self._inner, self._inner]
        pair = turned(pair, self.size, generator) if self.augment else pair
        image = stretched(pair[:, :1], generator) if self.augment else pair[:, :1]
        return {"image": (pair[:, 1:] > 0.5).float() * 2 - 1, "concat": image}

    @property
    def _inner(self) -> slice:
        first = (self.room - self.size) // 2
        return slice(first, first + self.size)


def read_entry(entry: Mapping, side: int, pixel_mm: float, window: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(image [S, S], masks uint8 [R, S, S], frequencies [R]) of each slice that a reader marked, of an entry of a datalist.

    A slice that nobody marked counts where the entry is one slice.
    """
    if not entry.get("mask"):
        raise InputError(f"{entry['image']}: no mask beside it: give each image of the list its 'mask', or a list of them")
    stored, _ = read_image(entry["image"])
    sliced, centre = to_slices(stored), entry.get("centre")
    matrix = place(sliced.shape[1:3], middle_of(stored, sliced, centre), sizes_of(stored, sliced, pixel_mm), side)
    first, stop = parse_slices(entry.get("slices", "all"), sliced.shape[-1])
    grey = windowed(sliced.as_tensor(), window_of(window, stored))
    images = cut(grey[..., first:stop].movedim(-1, 0), matrix, side)[:, 0]
    marked = torch.cat([to_slices(m).as_tensor() for m in read_masks(entry["mask"], stored)])[..., first:stop]
    masks = (cut(marked.movedim(-1, 0), matrix, side) > 0.5).to(torch.uint8)
    often = torch.full((masks.shape[1],), 1 / masks.shape[1])
    chosen = [k for k in range(len(images)) if len(images) == 1 or masks[k].any()]
    return [(images[k], masks[k], often) for k in chosen]


def simulated(seed: int, side: int, pixel_mm: float) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a simulated nodule."""
    case = nodule(side, pixel_mm, seed)
    image = windowed(torch.from_numpy(case.image), CT_WINDOW)
    return image, torch.from_numpy(case.masks).to(torch.uint8), torch.tensor(case.frequencies)


def turned(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Patches [B, C, size, size] of the middle of x [B, C, S, S], each turned, mirrored, scaled and shifted by itself."""
    count, side = len(x), x.shape[-1]

    def even(bound: float) -> Tensor:
        return bound * (2 * torch.rand(count, generator=generator) - 1)

    angle, scale, flip = even(math.pi), size / side * torch.exp(even(ZOOM)), torch.sign(even(1.0))
    cos, sin, shift = scale * angle.cos(), scale * angle.sin(), [even(2 * SHIFT / side) for _ in range(2)]
    rows = [torch.stack([flip * cos, -sin, shift[0]], 1), torch.stack([flip * sin, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), (count, 1, size, size), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def stretched(image: Tensor, generator: torch.Generator) -> Tensor:
    """Images [B, 1, *S] in [0, 1], the grey levels of each stretched and shifted a little."""
    gain, offset = (2 * torch.rand((2, len(image), 1, 1, 1), generator=generator) - 1) * LEVEL
    return (image * (1 + gain) + offset / 5).clamp(0, 1)

"""Training batches of brain slices beside their soft tissue maps, for generators of maps and of images on maps."""

import json
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.contrasts import shown_as
from diffzoo.imaging.heads import MODALITIES, TOP, one_hot
from diffzoo.training.brains import LEAST_BRAIN, warped
from diffzoo.training.draws import BatchDataset

Load = Callable[[Mapping], Mapping]


class TissueSlices(BatchDataset):
    """Batches of slices and maps; item i of epoch e is the same batch on every run and after a resume.

    entries: cases of `tissue_heads.LoadTissues`, whose `load` reads each once; also "shown_as" (a contrast to simulate from a
    T1, `imaging.contrasts`) and "weight" (1.0). Slices are cut to `size`. Augmentation: image and maps turned, zoomed, shifted,
    bent and mirrored together; gamma of the volume's, bias field of the slice's own; a simulated contrast is another one each
    time. Gives "image" and "style" [B, 1, *size] (another slice of the same volume, same contrast, moved in its own way),
    "label" [B, 5, *size], soft maps of `imaging.tissue.LABELS`, "modality" [B], the place in MODALITIES, and "position" [B].
    Raises ValueError where no slice is left, InputError for files that `load` refuses.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        load: Load,
        size: Sequence[int] = (64, 80),
        batch_size: int = 16,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        if not entries:
            raise ValueError("no training volumes: the list of entries is empty")
        super().__init__(batch_size, batches, seed)
        self.size, self.augment = tuple(size), augment
        load = _once(load)
        volumes = [_volume(entry, load, self.size) for entry in entries]
        self.slices = torch.cat([volume["slices"] for volume in volumes])
        self.positions = torch.cat([volume["position"] for volume in volumes])
        counts = torch.tensor([len(volume["slices"]) for volume in volumes])
        if not self.slices.shape[0]:
            raise ValueError("no slices with brain in them")
        self.volume = torch.repeat_interleave(torch.arange(len(volumes)), counts)
        self.first = torch.cumsum(counts, 0) - counts
        self.counts = counts
        self.modality = torch.tensor([MODALITIES.index(volume["modality"]) for volume in volumes])
        self.simulated = torch.tensor([volume["simulated"] for volume in volumes])
        shares = torch.tensor([float(entry.get("weight", 1.0)) for entry in entries]) / counts.clamp(min=1)
        self.weights = shares[self.volume]

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        volume = self.volume[drawn]
        away = 1 + (torch.rand(len(drawn), generator=generator) * (self.counts[volume] - 1).clamp(min=0)).long()
        other = self.first[volume] + (drawn - self.first[volume] + away) % self.counts[volume]
        stacked = torch.cat([self.slices[drawn], self.slices[other]]).float()
        modality, chosen = self.modality[volume], volume.repeat(2)
        if self.simulated[volume].any():
            stacked = self._shown(stacked, chosen, generator)
        if self.augment:
            stacked = changed(stacked, generator)
        (image, style), (label, _) = stacked[:, :1].chunk(2), stacked[:, 1:].chunk(2)
        return {"image": image, "style": style, "label": label, "modality": modality, "position": self.positions[drawn]}

    def _shown(self, slices: Tensor, volume: Tensor, generator: torch.Generator) -> Tensor:
        """Simulated volumes in their contrast, slice and style by the same knots."""
        picked, half = self.simulated[volume], len(slices) // 2
        vector = torch.eye(len(MODALITIES))[self.modality[volume]]
        state = generator.get_state()
        parts = []
        for part in (slice(0, half), slice(half, None)):
            generator.set_state(state)
            parts.append(shown_as(slices[part, :1], vector[part], generator if self.augment else None))
        return torch.cat([torch.where(picked.view(-1, 1, 1, 1), torch.cat(parts), slices[:, :1]), slices[:, 1:]], 1)


class TissueMaps(BatchDataset):
    """The maps alone, and those with borrowed lesions, as "image" [B, 5, *size] and "position" [B]: what an autoencoder learns.

    entries, `load` and the rest as for `TissueSlices`; a case counts once for each file of a person only, so name one contrast of
    each. Slices with a borrowed lesion are drawn with probability `borrowed`, where there are any.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        load: Load,
        size: Sequence[int] = (64, 80),
        batch_size: int = 16,
        batches: int = 100,
        borrowed: float = 0.4,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        if not entries:
            raise ValueError("no training volumes: the list of entries is empty")
        super().__init__(batch_size, batches, seed)
        self.size, self.augment, self.borrowed = tuple(size), augment, borrowed
        volumes = [_volume(entry, load, self.size) for entry in entries]
        own = torch.cat([volume["slices"][:, 1:] for volume in volumes])
        lent = torch.cat([volume["borrowed"] for volume in volumes])
        self.maps = torch.cat([own, lent])
        self.positions = torch.cat(
            [volume["position"] for volume in volumes] + [volume["borrowed_position"] for volume in volumes]
        )
        share = borrowed if len(lent) else 0.0
        each = ((own, 1 - share), (lent, share))
        self.weights = torch.cat([torch.full((len(maps),), part / max(1, len(maps))) for maps, part in each])

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        maps = self.maps[drawn].float()
        return {"image": partition(warped(maps, generator)) if self.augment else maps, "position": self.positions[drawn]}


def partition(maps: Tensor) -> Tensor:
    """Maps [B, K, *S] with what they lack of a sum of 1 given to the background, the first."""
    rest = torch.as_tensor(maps)[:, 1:].clamp(0, 1)
    rest = rest / rest.sum(1, keepdim=True).clamp(min=1)
    return torch.cat([(1 - rest.sum(1, keepdim=True)).clamp(min=0), rest], 1)


def changed(slices: Tensor, generator: torch.Generator) -> Tensor:
    """Images and their maps [2 B, 1 + 5, *S], each moved by itself; gamma alike in slice k and B + k, its style."""
    moved = warped(slices, generator)
    image, count = moved[:, :1], len(slices)
    gamma = (math.log(1.25) * (2 * torch.rand((count // 2, 1, 1, 1), generator=generator) - 1)).exp().repeat(2, 1, 1, 1)
    field = 0.08 * torch.randn((count, 1, 3, 3), generator=generator)
    bias = F.interpolate(field, image.shape[2:], mode="bicubic", align_corners=True).exp()
    image = torch.where(image > 0, image.clamp(min=1e-6) ** gamma * bias, 0).clamp(0, TOP)
    return torch.cat([image, partition(moved[:, 1:])], 1)


def _once(load: Load) -> Load:
    """Reads a file once, in however many contrasts it is shown."""
    cache = {}

    def loaded(entry: Mapping) -> Mapping:
        key = json.dumps({name: value for name, value in entry.items() if name not in ("shown_as", "weight")}, default=str)
        cache[key] = cache.get(key) or load(entry)
        return cache[key]

    return loaded


def _volume(entry: Mapping, load: Load, size: tuple[int, ...]) -> dict:
    """Slices [N, 1 + 5, *size] with brain in them, half precision, those of borrowed lesions [n, 5, *size], and positions."""
    data = load(entry)
    plain = {key: torch.as_tensor(data[key]).as_subclass(torch.Tensor) for key in ("image", "label", "borrowed")}
    stack = _cut(torch.cat([plain["image"], plain["label"]]).movedim(-1, 0), size)
    keep = (stack[:, 1] < 0.5).flatten(1).float().mean(1) >= LEAST_BRAIN
    lent = [_cut(mask.movedim(-1, 0), size) for mask in plain["borrowed"]]
    shown = [(mask[:, -1].flatten(1).amax(1) > 0.5) & keep for mask in lent]
    modality = entry.get("shown_as") or data["modality"]
    one_hot(modality)
    empty = torch.zeros(0, stack.shape[1] - 1, *size).half()
    return {
        "slices": stack[keep].half(),
        "position": data["position"][keep].float(),
        "modality": modality,
        "simulated": bool(entry.get("shown_as")),
        "borrowed": torch.cat([empty, *(mask[k].half() for mask, k in zip(lent, shown, strict=True))]),
        "borrowed_position": torch.cat([torch.zeros(0), *(data["position"][k].float() for k in shown)]),
    }


def _cut(slices: Tensor, size: tuple[int, ...]) -> Tensor:
    starts = [(n - want) // 2 for n, want in zip(slices.shape[2:], size, strict=True)]
    return slices[:, :, starts[0] : starts[0] + size[0], starts[1] : starts[1] + size[1]]

"""Training batches of brain slices with image-level labels: healthy, or with a lesion somewhere."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diffzoo.diffusion.blobs import blobs
from diffzoo.imaging.contrasts import shown_as
from diffzoo.imaging.geometry import orient
from diffzoo.imaging.heads import MODALITIES, LoadHead, one_hot, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.lesions import filled
from diffzoo.networks.label_tokens import DISEASED, HEALTHY, NULL, conditions_of
from diffzoo.tasks.anomaly.painting import paint_mask, paint_simulated
from diffzoo.training.brains import LEAST_BRAIN, augmented
from diffzoo.training.draws import BatchDataset

LEAST_LESION = 3  # voxels of a slice that make it diseased; fewer, and it counts as not labelled


class LabelledSlices(BatchDataset):
    """Batches of labelled axial brain slices; item i of epoch e is the same batch on every run and after a resume.

    entries: as for `training.brains.BrainSlices`, and: "mask" without "fill" labels each slice by its lesion voxels; "borrowed":
    lesion masks of other people in the image's space, which healthy slices of it may be given; "labelled": false where nobody
    said what the slices hold. A healthy slice is given lesions with probability `diseased`: a borrowed mask with probability
    `lent` where there is one, else simulated ones (`tasks.anomaly.painting`). The label is dropped with probability `dropout`.
    Gives "image" and "concat" [B, 1, *size] as `BrainSlices`, "vector" [B, 6] and "tokens" [B, 2, 3], which tell the label where
    it was not dropped (`networks.label_tokens`), "facts" [B, 4] without it, and "label" [B], never dropped, -1 where not known;
    unless `conditioned`, "vector" is the facts, and there are no tokens: for a network that is told no label. With
    `paired` half of a batch are healthy slices and the other half the same ones with lesions. Slices that
    are told to be healthy bring patches of noise in a share `patches` of them, "disturbance" [B, 1, *size] (`diffusion.blobs`):
    whatever is larger than a voxel and does not belong into a healthy slice is noise under that label, and under no other.
    Raises InputError for a volume that is no head MR, ValueError where no slice is left.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        size: Sequence[int] = (96, 112),
        grid_mm: float = 2.0,
        batch_size: int = 16,
        batches: int = 100,
        diseased: float = 0.5,
        lent: float = 0.4,
        dropout: float = 0.3,
        patches: float = 0.0,
        seed: int = 0,
        augment: bool = True,
        conditioned: bool = True,
        paired: bool = False,
    ) -> None:
        if not entries:
            raise ValueError("no training volumes: the list of entries is empty")
        super().__init__(batch_size, batches, seed)
        self.size, self.grid_mm = tuple(size), grid_mm
        self.diseased, self.lent, self.dropout, self.augment = diseased, lent, dropout, augment
        self.conditioned, self.patches, self.paired = conditioned, patches, paired
        load, memory = LoadHead(grid_mm, field=self.size), {}
        volumes = [_volume(entry, load, memory) for entry in entries]
        self.slices, self.facts, self.labels, self.weights, self.simulated, self.volume = (
            torch.cat([volume[key] for volume in volumes]) for key in ("slices", "facts", "label", "weight", "simulated", "place")
        )
        if not len(self.slices):
            raise ValueError("no training slices with brain in them")
        counts = torch.tensor([len(volume["slices"]) for volume in volumes])
        self.number = torch.repeat_interleave(torch.arange(len(volumes)), counts)
        self.borrowed = [volume["borrowed"] for volume in volumes]  # by the slice's place in its volume

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        if self.paired:
            return self._pairs(generator)
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        (image, brain), facts = self.slices[drawn].float()[:, :, None].unbind(1), self.facts[drawn]
        picked, label = self.simulated[drawn], self.labels[drawn].clone()
        if picked.any():
            image[picked] = shown_as(image[picked], facts[picked, :-1], generator if self.augment else None)
        for k, wanted in enumerate(torch.rand(len(drawn), generator=generator) < self.diseased):
            if wanted and label[k] == HEALTHY:
                painted = self._painted(int(drawn[k]), image[k], brain[k], generator)
                image[k], label[k] = (image[k], HEALTHY) if painted is None else (painted, DISEASED)
        if self.augment:
            image, brain = augmented(image, brain, generator)
        dropped = torch.rand(len(drawn), generator=generator) < self.dropout
        shown = torch.where(dropped, NULL, label)
        batch = {"image": image, "concat": brain, "facts": facts, "label": label}
        batch |= conditions_of(facts, shown) if self.conditioned else {"vector": facts}
        if self.patches:
            chosen = (shown == HEALTHY) & (torch.rand(len(drawn), generator=generator) < self.patches)
            batch["disturbance"] = torch.where(chosen.view(-1, 1, 1, 1), blobs(image, generator) * brain, 0.0)
        return batch

    def _pairs(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Healthy slices and, after them, the same ones with lesions, changed alike; -1 where a lesion had no room."""
        healthy = self.weights * (self.labels == HEALTHY)
        drawn = torch.multinomial(healthy, self.batch_size // 2, replacement=True, generator=generator)
        (image, brain), facts = self.slices[drawn].float()[:, :, None].unbind(1), self.facts[drawn]
        picked, label = self.simulated[drawn], torch.full((len(drawn),), DISEASED)
        if picked.any():
            image[picked] = shown_as(image[picked], facts[picked, :-1], generator if self.augment else None)
        twin = image.clone()
        for k, number in enumerate(drawn.tolist()):
            painted = self._painted(number, image[k], brain[k], generator)
            twin[k], label[k] = (image[k], NULL) if painted is None else (painted, DISEASED)
        outline = brain
        if self.augment:
            state = generator.get_state()
            image, outline = augmented(image, brain, generator)
            twin, _ = augmented(twin, brain, generator.set_state(state))
        labels = torch.cat([torch.full_like(label, HEALTHY), label])
        pairs = {
            "image": torch.cat([image, twin]),
            "concat": outline.repeat(2, 1, 1, 1),
            "facts": facts.repeat(2, 1),
            "label": labels,
        }
        return pairs | (conditions_of(pairs["facts"], labels) if self.conditioned else {"vector": pairs["facts"]})

    def _painted(self, drawn: int, image: Tensor, brain: Tensor, generator: torch.Generator) -> Tensor | None:
        """A healthy slice [1, H, W] with lesions, None where they have no room."""
        masks = self.borrowed[int(self.number[drawn])].get(int(self.volume[drawn]))
        if masks is not None and torch.rand(1, generator=generator) < self.lent:
            chosen = masks[int(torch.randint(len(masks), (1,), generator=generator))]
            modality = MODALITIES[int(self.facts[drawn, :3].argmax())]
            return paint_mask(image, chosen[None].float() / 255, modality, generator)
        return paint_simulated(image, brain, self.grid_mm, generator)


def _volume(entry: Mapping, load: LoadHead, memory: dict) -> dict:
    """Slices [N, 2, *size] of an entry (half precision) with what is known of each, and its borrowed masks by slice."""
    data = load({key: entry[key] for key in ("image", "mask", "modality") if entry.get(key)})
    image, brain = (data[key].as_tensor()[0] for key in ("image", "brain"))
    lesion = data["mask"].as_tensor()[0] if "mask" in data else torch.zeros_like(brain)
    if "mask" in data and entry.get("fill"):
        image, lesion = torch.from_numpy(filled(image.numpy(), lesion.numpy(), brain.numpy())), torch.zeros_like(brain)
    stack = _cut(torch.stack([image, brain.to(image)]).movedim(-1, 0), load.field)
    keep = (stack[:, 0] > 0).flatten(1).float().mean(1) >= LEAST_BRAIN
    area = lesion.movedim(-1, 0).flatten(1).sum(1)
    label = torch.where(area == 0, HEALTHY, torch.where(area < LEAST_LESION, NULL, DISEASED))
    label = label if entry.get("labelled", True) else torch.full_like(label, NULL)
    facts, count = data["vector"], max(1, int(keep.sum()))
    if entry.get("shown_as"):
        facts = torch.cat([one_hot(entry["shown_as"]).expand(len(facts), -1), facts[:, -1:]], 1)
    share = torch.full((len(stack),), float(entry.get("weight", 1.0)) / count)
    simulated = torch.full((len(stack),), bool(entry.get("shown_as")))
    known = {"slices": stack.half(), "facts": facts, "label": label, "weight": share, "simulated": simulated}
    known = {key: value[keep] for key, value in known.items()} | {"place": torch.arange(len(stack))[keep]}
    source = (str(entry["image"]), *map(str, entry.get("borrowed", ())))
    if source not in memory:
        memory[source] = _borrowed(entry.get("borrowed", ()), data["image"], load.field)
    return known | {"borrowed": memory[source]}


def _borrowed(paths: Sequence[str], image, field: Sequence[int]) -> dict[int, Tensor]:
    """Masks [n, *field] (uint8, 255 = lesion) of each slice that one of the label files reaches."""
    masks: dict[int, list[Tensor]] = {}
    for path in paths:
        label = orient(read_volume(path, allow_constant=True), "RAS")
        mask = (label.as_tensor()[0].numpy() > 0).astype(np.float32)
        share = resample(mask, label.affine.numpy(), image.affine.numpy(), tuple(image.shape[1:]))
        stack = _cut(torch.from_numpy(share).movedim(-1, 0)[:, None], field)[:, 0]
        for place in torch.nonzero((stack > 0.5).flatten(1).sum(1) >= LEAST_LESION).flatten().tolist():
            masks.setdefault(place, []).append((stack[place] * 255).round().to(torch.uint8))
    return {place: torch.stack(stacks) for place, stacks in masks.items()}


def _cut(stack: Tensor, size: Sequence[int]) -> Tensor:
    starts = [(n - want) // 2 for n, want in zip(stack.shape[2:], size, strict=True)]
    return stack[:, :, starts[0] : starts[0] + size[0], starts[1] : starts[1] + size[1]]

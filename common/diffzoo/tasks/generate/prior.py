"""What a generator draws from where nobody asks: the style codes of its training images, and the conditions of its maps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffzoo.imaging.heads import MODALITIES
from diffzoo.tasks.generate.dataset import Load, TissueMaps, TissueSlices
from diffzoo.tasks.generate.inferer import styles_of
from diffzoo.training.latents import label_conditions

SLICES = 16  # of a code


def style_codes(
    generator: nn.Module, entries: Sequence[Mapping], load: Load, size: Sequence[int], count: int = 24
) -> dict[str, Tensor]:
    """Codes [count, style_size] by modality, half precision, each the mean over 16 slices of a scan; scans take turns.

    entries, load, size: as of `TissueSlices`. A simulated contrast is another one for each code. A modality that no entry has is
    left out.
    """
    codes = {}
    for name in MODALITIES:
        mine = [entry for entry in entries if (entry.get("shown_as") or entry.get("modality") or "t1") == name]
        batches = {"batch_size": SLICES, "batches": count}
        sets = [TissueSlices([entry], load, size, **batches, augment="shown_as" in entry) for entry in mine]
        if sets:
            rows = [styles_of(generator, sets[k % len(sets)][k]["image"])[0] for k in range(count)]
            codes[name] = torch.stack(rows).half().cpu().contiguous()
    return codes


def condition_rows(entries: Sequence[Mapping], load: Load, size: Sequence[int], count: int = 512) -> Tensor:
    """What `latents.label_conditions` tells of `count` maps, [count, n], half precision: moved and bent, as training has them.

    entries, load, size: as of `TissueMaps`, of which every second map has a borrowed lesion.
    """
    maps = TissueMaps(entries, load, size, batch_size=count, batches=1, borrowed=0.5)
    return label_conditions(maps[0]).half()

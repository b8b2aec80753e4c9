"""What is asked of label maps that are drawn out of nothing, and the prior it is drawn from where nobody says."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError

CONDITIONS = "conditions"  # of the prior: lesion flag, slice position, share of each label, a row for each training map
ASKED = 2  # stream of the numbers that say what is asked
NEAR = 8  # rows of like place, of which one is taken
TINY = 4  # rows more with a lesion, of which those of the smallest are left out: a voxel is lost on the way through the latents


def load_prior(path: str | Path) -> dict[str, Tensor]:
    """Style codes [N, style_size] by modality and the "conditions" [N, n] of training maps, as build_prior.py stored them."""
    return {name: values.float() for name, values in load_file(path).items()}


def codes_of(prior: Mapping[str, Tensor], modality: str) -> Tensor:
    """Style codes [N, style_size] of a modality. InputError for one that has none."""
    known = sorted(prior.keys() - {CONDITIONS})
    if modality not in known:
        raise InputError(f"there are styles for {', '.join(known)}, not for {modality}")
    return prior[modality]


def to_draw(prior: Mapping[str, Tensor], count: int, seed: int, lesion: str = "any", place: float | None = None) -> list[dict]:
    """Cases of nothing: `count` of them with what is asked of each (`asked`). lesion: any, with or without.

    Raises InputError for less than one, and for what cannot be asked.
    """
    flags = {"any": None, "with": 1.0, "without": 0.0}
    if count < 1 or lesion not in flags:
        raise InputError(f"count={count} lesion={lesion}: give 1 or more, and any, with or without")
    values = asked(prior[CONDITIONS], count, seed, flags[lesion], place)
    return [
        {"case": f"sample_{k + 1:0{max(2, len(str(count)))}d}", "asked": value, "number": torch.tensor(k)}
        for k, value in enumerate(values)
    ]


def asked(rows: Tensor, count: int, seed: int, lesion: float | None = None, place: float | None = None) -> Tensor:
    """What `inferer.DrawMaps` asks of each of `count` maps, [count, n]: lesion flag, slice position, share of each label.

    Where they are None the flag is tossed, and the place is drawn evenly from 0.2 to 0.8. The shares are those of one of the
    `rows` [N, n] of that flag whose place is nearest; NaN, left to the network, where no row has it. Raises InputError for a flag
    other than 0 or 1, and for a place beyond [0, 1].
    """
    if lesion not in (None, 0, 1) or not (place is None or 0 <= place <= 1):
        raise InputError(f"lesion={lesion} slice={place}: give 0 or 1, and 0 (the lowest slice) to 1")
    values = torch.full((count, rows.shape[1]), torch.nan)
    for k in range(count):
        drawn = torch.rand(3, generator=torch.Generator().manual_seed(stream(seed + k, ASKED)))
        flag = float(drawn[0] < 0.5) if lesion is None else float(lesion)
        height = float(0.2 + 0.6 * drawn[1]) if place is None else place
        same = rows[rows[:, 0] == flag]
        if len(same):
            near = same[(same[:, 1] - height).abs().argsort()[: NEAR + TINY * int(flag)]]
            near = near[near[:, -1].argsort(descending=True)][:NEAR] if flag else near
            values[k] = near[int(drawn[2] * len(near))]
        values[k, 0], values[k, 1] = flag, height
    return values

"""Simulated nodules as cases of an evaluation: their readers' outlines and how often each is drawn are known."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor

from diffzoo.diffusion.noise import stream
from diffzoo.imaging.phantoms.nodules import KINDS, READERS, nodule

SIDE = 96  # pixels of a simulated image
SHARES = 20  # readers whose numbers are the frequencies


def with_phantoms(cases: Sequence[Mapping], phantoms: int = 0, seed: int = 0, pixel_mm: float = 0.5) -> list[dict]:
    """The cases of a list, or in their place that many simulated nodules, solid, part-solid and faint in turn.

    Each has "image" and "mask", four arrays in the order of `nodules.READERS`, "frequencies" of these, "group" (its kind) and
    "chain", a number of its own for the noise of its draws. The seed is that of the nodules.
    """
    if not phantoms:
        return [dict(case) for case in cases]
    return [_phantom(k, seed, pixel_mm) for k in range(phantoms)]


def _phantom(number: int, seed: int, pixel_mm: float) -> dict:
    case = nodule(SIDE, pixel_mm, stream(seed, number), KINDS[number % len(KINDS)])
    affine = np.diag([pixel_mm, pixel_mm, 1.0, 1.0])
    image = MetaTensor(torch.from_numpy(case.image)[..., None], affine=torch.from_numpy(affine))
    name = f"phantom_{number + 1:03}"
    masks = [torch.from_numpy(mask)[..., None].float() for mask in case.masks]
    more = {"frequencies": list(case.frequencies), "group": case.kind, "subject": name, "chain": number}
    return {"image": image, "case": name, "mask": masks, **more}


def repeated(frequencies: Sequence[float]) -> list[int]:
    """Each reader's number as often among twenty as its frequency says."""
    return [k for k in range(len(READERS)) for _ in range(round(SHARES * frequencies[k]))]

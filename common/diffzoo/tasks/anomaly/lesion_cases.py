"""Synthetic lesions as evaluation cases: one case a lesion, made on the model's grid of a scan that is read once."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy.ndimage import binary_dilation

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.lesions import CONTRASTS, RADII, TEXTURES, lesion_set

CLEAR = 2  # voxels that a lesion keeps away from those that the scan has already
SOURCE = ("image", "mask", "normal", "modality")  # of a case: what its head is read from


def with_lesions(cases: Sequence[Mapping], lesions: str = "none", repeats: int = 1, turns: int = 0) -> list[dict]:
    """The cases as they are ("none"), or one case for each scan and synthetic lesion, named `<case>_06_bright_rim_0`.

    lesions: radii in mm, such as "6,10,15", or "all" for those of `imaging.lesions.RADII`; each in every contrast and texture,
    `repeats` times. turns: of the six pairs of contrast and texture so many a scan and radius, in turn, so that scans and radii
    share them evenly; 0 for all. A case gets "lesion_settings" for `InsertLesion`, "subject" (the scan's own, else its name) and
    "group", such as "6 mm". Raises InputError for radii that are none, or turns out of range.
    """
    named = [{"subject": case["case"], **case} for case in cases]
    if lesions == "none":
        return named
    looks, radii = list(product(CONTRASTS, TEXTURES)), _radii(lesions)
    if not 0 <= turns <= len(looks):
        raise InputError(f"lesion turns lie between 0 (all) and {len(looks)}, not at {turns}")
    turns = turns or len(looks)
    return [
        _case(case, radius, *looks[(turns * (scan + size) + k) % len(looks)], repeat)
        for scan, case in enumerate(named)
        for size, radius in enumerate(radii)
        for k in range(turns)
        for repeat in range(repeats)
    ]


def _radii(text: str) -> list[float]:
    try:
        radii = list(RADII) if text == "all" else list(dict.fromkeys(float(part) for part in str(text).split(",")))
    except ValueError:
        radii = []
    if not radii or not all(0 < radius < np.inf for radius in radii):
        raise InputError(f"lesions={text!r}: give none, all, or radii in mm such as 6,10,15")
    return radii


def _case(case: Mapping, radius: float, contrast: float, texture: str, repeat: int) -> dict:
    name = f"{case['case']}_{radius:02g}_{'bright' if contrast > 0 else 'dark'}_{texture}_{repeat}"
    settings = {"radius": radius, "contrast": contrast, "texture": texture, "repeat": repeat}
    return {**case, "case": name, "group": f"{radius:g} mm", "lesion_settings": settings}


class CachedHead(Transform):
    """A loader of heads that keeps the last scan: many cases of one scan read it once."""

    def __init__(self, load: Callable[[Mapping], dict]) -> None:
        self.load, self.source, self.kept = load, {}, {}

    def __call__(self, data: Mapping) -> dict:
        source = {name: data[name] for name in SOURCE if data.get(name) is not None}
        if source.keys() != self.source.keys() or not all(_same(source[k], self.source[k]) for k in source):
            self.kept, self.source = self.load(source | {"case": data["case"]}), source
        return {**data, **self.kept, "case": data["case"]}


def _same(first, other) -> bool:
    """Whether two sources are one: names by their letters, arrays only if they are the same object."""
    return first is other or (isinstance(first, str | Path) and str(first) == str(other))


class InsertLesion(Transform):
    """Puts the lesion of "lesion_settings" into a loaded head and keeps the slices that it crosses; other cases pass as they are.

    It lies in brain, away from the lesions that the scan has ("mask"), which become "ignore"; "mask" is the new one alone,
    "clean" the image without it, and "whole_brain" the brain of the whole head. A case depends on `seed` and its own settings
    alone. Raises InputError where there is no room.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, data: Mapping) -> dict:
        if not data.get("lesion_settings"):
            return dict(data)
        image, brain = data["image"], data["brain"].as_tensor()[0].numpy()
        own = data["mask"].as_tensor()[0].numpy() if "mask" in data else np.zeros_like(brain)
        room = brain & ~binary_dilation(own, iterations=CLEAR)
        want = data["lesion_settings"]
        lesions = lesion_set(
            image.as_tensor()[0].numpy(),
            room,
            spacing(image.affine),
            self.seed,
            (want["radius"],),
            (want["contrast"],),
            (want["texture"],),
            want["repeat"] + 1,
        )
        lesion = list(lesions)[-1]
        volumes = {
            "image": lesion.image,
            "mask": lesion.mask,
            "ignore": own,
            "clean": image.as_tensor()[0].numpy(),
            "brain": brain,
        }
        rows = np.flatnonzero(lesion.mask.any((0, 1)))
        rows = slice(int(rows[0]), int(rows[-1]) + 1)
        affine = image.affine.clone()
        affine[:3, 3] += affine[:3, 2] * rows.start
        cut = {k: MetaTensor(torch.from_numpy(v[None, ..., rows].copy()), affine=affine) for k, v in volumes.items()}
        return {
            **data,
            **cut,
            "whole_brain": data["brain"],
            "slice_index": data["slice_index"][rows],
            "vector": data["vector"][rows],
        }

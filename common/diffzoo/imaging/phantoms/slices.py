"""The random phantom of a kind, and the value scale of a public head CT template turned back into HU."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.phantoms.abdomen import abdomen_slice
from diffzoo.imaging.phantoms.bones import table, tissue
from diffzoo.imaging.phantoms.brain import base_level, brain_level
from diffzoo.imaging.phantoms.canvas import Canvas, finish
from diffzoo.imaging.phantoms.chest import chest_slice
from diffzoo.imaging.phantoms.face import jaw_level, maxilla_level, neck_level
from diffzoo.imaging.phantoms.luggage import luggage_slice

KINDS = ("chest", "abdomen", "head", "luggage")


def phantom(kind: str, size: int, pixel: float, seed: int | torch.Generator) -> Tensor:
    """Random CT slice [size, size] of a `kind` (chest, abdomen, head, luggage) in HU, float32 in [-1000, 2000].

    Rows run from front to back and columns from the patient's right to left, `pixel` mm apart, so that a smaller pixel shows the
    same anatomy larger; luggage fills the field at any pixel. Outside the object and its support the value is exactly -1000. The
    bits follow from `seed` (a generator gives one draw). Raises InputError for an unknown kind, a size below 8, or a pixel size
    or seed out of range.
    """
    if kind not in KINDS:
        raise InputError(f"there is no phantom {kind!r}: choose one of {', '.join(KINDS)}")
    if size < 8:
        raise InputError(f"a phantom needs at least 8 pixels a side, not {size}")
    if not (math.isfinite(pixel) and pixel > 0):
        raise InputError(f"the pixel size must be a positive number of mm, not {pixel}")
    if not isinstance(seed, torch.Generator) and seed < 0:
        raise InputError(f"the seed must not be negative, not {seed}")
    start = int(torch.randint(2**62, (1,), generator=seed)) if isinstance(seed, torch.Generator) else seed
    shape_rng, noise_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(start).spawn(2))
    canvas = Canvas(size, pixel)
    return torch.from_numpy(_draw(kind, canvas, size, pixel, shape_rng, noise_rng))


def _draw(kind: str, canvas: Canvas, size: int, pixel: float, rng: np.random.Generator, last: np.random.Generator) -> np.ndarray:
    hu = tissue(rng)
    if kind == "luggage":
        luggage_slice(canvas, rng, size * pixel / 2)
        return finish(canvas, size, pixel, last, 0.0, turn=40)
    if kind == "head":
        _head(canvas, rng, hu)
        support = partial(_headrest, rng=rng, low=_bottom(canvas) + rng.uniform(1, 18)) if rng.random() < 0.8 else None
        return finish(canvas, size, pixel, last, rng.uniform(1, 4.5), support, turn=7)
    (chest_slice if kind == "chest" else abdomen_slice)(canvas, rng, hu)
    support = partial(table, rng=rng, top=_bottom(canvas) + rng.uniform(2, 25)) if rng.random() < 0.85 else None
    return finish(canvas, size, pixel, last, rng.uniform(2, 8), support, turn=4)


def _head(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    level = rng.choice(5, p=[0.3, 0.2, 0.2, 0.18, 0.12])
    if level == 0:
        brain_level(canvas, rng, hu, rng.uniform(0, 1))
    else:
        (base_level, maxilla_level, jaw_level, neck_level)[level - 1](canvas, rng, hu)


def _bottom(canvas: Canvas) -> float:
    """Coordinate (mm) of the lowest part of the body near the midline, and 120 where the board shows none of it."""
    middle = np.abs(canvas.axis) < max(40, canvas.step)
    rows = np.flatnonzero((canvas.image[:, middle] > -500).any(1))
    low = float(canvas.axis[rows[-1]]) if len(rows) else 120.0
    return low if low < canvas.axis[-1] - 2 * canvas.step else 120.0


def _headrest(canvas: Canvas, rng: np.random.Generator, low: float):
    """A cradle: a U of plastic or carbon round the back of the head, `low` mm below the middle, with foam in it."""
    radius, skin = rng.uniform(85, 125), rng.uniform(1.5, 4)
    y = low - radius
    turn = np.linspace(rng.uniform(0, 0.6), math.pi - rng.uniform(0, 0.6), 13)
    points = np.stack([radius * np.cos(turn), y + radius * np.sin(turn)], 1)
    if rng.random() < 0.6:
        canvas.paint(canvas.stroke(points * (0.96, 0.97), rng.uniform(8, 16)), rng.uniform(-985, -900))
    canvas.paint(canvas.stroke(points, skin), rng.uniform(-500, 150))
    if rng.random() < 0.4:
        canvas.paint(canvas.stroke(points * 1.08, skin), rng.uniform(-500, 150))


def cormack_to_hu(values: Tensor) -> Tensor:
    """Value scale of the Clinical toolbox' head CT template (any shape) -> HU, float32, undoing its stretch of soft tissue.

    The toolbox moves HU -1000..-100 to 0..900, stretches -100..100 eleven-fold to 900..3100 and adds 3000 above, so that brain
    tissue dominates a registration (Rorden et al., NeuroImage 61, 2012, 957-965). Values below 0 come out as -1000.
    """
    values = torch.as_tensor(values, dtype=torch.float32).clamp(min=0)
    soft = (values - 900) / 11 - 100
    return torch.where(values < 900, values - 1000, torch.where(values <= 3100, soft, values - 3000))

"""Simulated lung nodules with four readers, whose outlines and their frequencies are known: patches of chest CT in HU."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.phantoms.canvas import OVERSAMPLE, Canvas, Region, waves

READERS = ("core", "half of the rim", "core and rim", "nothing")
# How often each reader's outline is drawn, by kind of nodule
FREQUENCIES = {"solid": (0.5, 0.2, 0.3, 0.0), "part_solid": (0.4, 0.2, 0.3, 0.1), "faint": (0.15, 0.1, 0.1, 0.65)}
KINDS = tuple(FREQUENCIES)
RIM_MM = {"solid": (0.4, 0.8), "part_solid": (1.5, 4.0), "faint": (0.4, 1.0)}  # from, to
CORE_MM = {"solid": (1.5, 9.0), "part_solid": (2.0, 6.0), "faint": (0.7, 2.0)}
BARE_MM = (1.5, 1.0)
CORE_HU = {"solid": (-250.0, 80.0), "part_solid": (-250.0, 60.0), "faint": (-600.0, -200.0)}


@dataclass(frozen=True)
class Nodule:
    """image: HU [S, S], float32; masks: bool [4, S, S], one a reader; frequencies: how often each reader's is drawn, sum 1."""

    kind: str
    image: np.ndarray
    masks: np.ndarray
    frequencies: tuple[float, ...]


def nodule(size: int, pixel: float, seed: int, kind: str | None = None, bare: bool = False) -> Nodule:
    """A random nodule of a `kind` (solid, part_solid, faint; None: any) near the middle of a patch [size, size].

    `pixel` in mm. Lung with vessels, often with chest wall and rib; a core in a rim of ground glass. Readers outline the core,
    the core and half of the rim, all of it, or nothing, with FREQUENCIES of the kind; a solid nodule's rim is about a pixel of
    0.5 mm wide. A `bare` one has even lung around it, hardly any noise, and lies BARE_MM off the middle: a shape to try a program
    on. The bits follow from the seed. Raises InputError for another kind, a size below 16, or a pixel not above 0.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"there is no nodule {kind!r}: choose one of {', '.join(KINDS)}")
    if size < 16 or not pixel > 0:
        raise InputError(f"a nodule needs at least 16 pixels a side and a positive pixel, not {size} and {pixel}")
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[int(rng.choice(len(KINDS), p=(0.4, 0.4, 0.2)))]
    canvas = Canvas(size, pixel)
    if bare:
        canvas.image[:] = -850.0
    else:
        _lung(canvas, rng, size * pixel / 2)
    outlines = _outlines(canvas, rng, kind, BARE_MM if bare else None)
    if not bare:
        _wall(canvas, rng, size * pixel / 2)
    covers = [canvas.mask(outline) for outline in outlines]
    if kind != "solid" or rng.random() < 0.5:
        glass = rng.uniform(-720, -480)
        canvas.blend(covers[2] * (canvas.image < glass), glass + 30 * canvas.grain(rng, 1.0, 40.0))
    canvas.paint(outlines[0], rng.uniform(*CORE_HU[kind]) + 25 * canvas.grain(rng, 1.5, 40.0))
    masks = [_shrunk(cover, size) >= 0.5 for cover in covers]
    masks.append(np.zeros_like(masks[0]))
    return Nodule(
        kind, _scanned(_shrunk(canvas.image, size), pixel, rng, 3.0 if bare else 45.0), np.stack(masks), FREQUENCIES[kind]
    )


def _outlines(canvas: Canvas, rng: np.random.Generator, kind: str, at: tuple[float, float] | None) -> list[Region]:
    """The core, the core with half of its rim, and with all of it."""
    low, high = CORE_MM[kind]
    first = low * (high / low) ** rng.uniform()
    second, turn, rim = first * rng.uniform(0.7, 1.0), rng.uniform(0, math.pi), rng.uniform(*RIM_MM[kind])
    x, y = rng.normal(0, 0.7, 2).clip(-1.5, 1.5) if at is None else at
    wavy = waves(rng, rng.uniform(0.0, 0.08)) if first > 1.5 else ()
    return [canvas.ellipse(x, y, first + grow, second + grow, turn, wavy) for grow in (0.0, rim / 2, rim)]


def _lung(canvas: Canvas, rng: np.random.Generator, reach: float) -> None:
    """Lung with vessels, some of which pass near the nodule or end in it."""
    canvas.image[:] = rng.uniform(-930, -800) + rng.uniform(5, 30) * canvas.grain(rng, 6.0, 60.0)
    canvas.image += rng.uniform(10, 40) * canvas.grain(rng, 1.0, 60.0)
    for _ in range(rng.integers(3, 14)):
        start, turn = rng.uniform(-reach, reach, 2), rng.uniform(0, 2 * math.pi)
        length, bend = rng.uniform(3, 25), rng.normal(0, 0.4)
        steps = np.linspace(0, 1, 5)
        angles = turn + bend * steps
        points = start + np.stack([np.cos(angles), np.sin(angles)], 1) * (length * steps)[:, None]
        canvas.paint(canvas.stroke(points, rng.uniform(0.5, 2.4) * np.linspace(1, 0.5, 5)), rng.uniform(-450, 50))
    for _ in range(rng.integers(0, 4)):  # vessels cut across are round and bright as a nodule is, and lie elsewhere
        distance, turn = rng.uniform(6, reach), rng.uniform(0, 2 * math.pi)
        where = distance * math.cos(turn), distance * math.sin(turn)
        canvas.paint(canvas.ellipse(*where, *(rng.uniform(0.8, 2.5) * rng.uniform(0.8, 1.2, 2))), rng.uniform(-200, 60))


def _wall(canvas: Canvas, rng: np.random.Generator, reach: float) -> None:
    """Chest wall or mediastinum on one side, in most patches; now and then as near as the nodule."""
    if rng.random() < 0.35:
        return
    gap, turn, curve = rng.uniform(3, 1.4 * reach), rng.uniform(0, 2 * math.pi), rng.uniform(40, 120)
    sign = -1.0 if rng.random() < 0.7 else 1.0  # the lung bulges into the wall, or an organ into the lung
    away = gap + sign * curve
    x, y = away * math.cos(turn), away * math.sin(turn)
    round_shape = canvas.mask(canvas.ellipse(x, y, curve, curve))
    inside = 1 - round_shape if sign < 0 else round_shape
    tissue = rng.uniform(20, 70) if rng.random() < 0.6 else rng.uniform(-110, 20)
    canvas.blend(inside, tissue + 25 * canvas.grain(rng, 4.0, 60.0))
    if sign < 0 and rng.random() < 0.6:
        at, middle = gap + rng.uniform(4, 9), turn + rng.uniform(-0.5, 0.5)
        bone = canvas.ellipse(at * math.cos(middle), at * math.sin(middle), rng.uniform(1.5, 3), rng.uniform(4, 12), middle)
        canvas.shell(bone, rng.uniform(0.6, 1.2), rng.uniform(400, 900), rng.uniform(100, 350))


def _shrunk(board: np.ndarray, size: int) -> np.ndarray:
    """The middle of a board as [size, size]: means over the samples of a pixel."""
    edge = (len(board) - size * OVERSAMPLE) // 2
    inner = board[edge : edge + size * OVERSAMPLE, edge : edge + size * OVERSAMPLE]
    return inner.reshape(size, OVERSAMPLE, size, OVERSAMPLE).mean((1, 3))


def _scanned(image: np.ndarray, pixel: float, rng: np.random.Generator, most: float) -> np.ndarray:
    """Blur of a scanner (in mm) and its correlated noise, of that standard deviation at the most; HU in [-1000, 2000]."""
    soft = ndimage.gaussian_filter(image, rng.uniform(0.25, 0.6) / pixel)
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0.4, 1.0))
    return np.clip(soft + rng.uniform(most / 9, most) * noise / noise.std(), -1000, 2000).astype(np.float32)

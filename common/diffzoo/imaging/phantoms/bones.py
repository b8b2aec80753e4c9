"""Parts that several regions share: bone with a cortex, vertebrae, tubes of gas, vessels, and the table."""

import math
from collections.abc import Sequence

import numpy as np

from diffzoo.imaging.phantoms.canvas import AIR, Canvas, Region, waves


def tissue(rng: np.random.Generator) -> dict[str, float]:
    """Random HU of one person's tissues, about the textbook means."""
    return {
        "fat": rng.normal(-98, 7),
        "muscle": rng.normal(52, 6),
        "blood": rng.uniform(35, 60) if rng.random() < 0.5 else rng.uniform(90, 230),  # plain or with contrast agent
        "cortex": rng.uniform(850, 1600),
        "spongy": rng.uniform(120, 330),
        "skin": rng.uniform(-10, 40),
        "csf": rng.normal(8, 3),
        "lung": rng.normal(-855, 30),
    }


def bone(canvas: Canvas, region: Region, hu: dict[str, float], cortex: float = 1.3, within: np.ndarray | None = None):
    """A bone: compact shell of `cortex` mm round spongy bone."""
    canvas.shell(region, cortex, hu["cortex"], hu["spongy"], within=within)


def vertebra(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float, hu: dict[str, float], inside, rib: bool = False
):
    """A vertebra whose body, `size` mm in half width, is centred on (x, y), with arch and processes, where `inside` is 1."""
    depth, body = size * rng.uniform(0.72, 0.88), canvas.ellipse
    canal, back = y + depth + size * 0.42, y + depth + size * 0.95
    reach, spine = size * rng.uniform(1.5, 2.1), size * rng.uniform(1.2, 2.2)
    parts = []
    for side in (-1, 1):
        root = (x + side * size * 0.62, y + depth * 0.75)
        facet = (x + side * size * 0.8, canal + size * 0.35)
        parts.append(canvas.stroke([root, facet], size * 0.34))
        parts.append(canvas.stroke([facet, (x, back)], size * rng.uniform(0.26, 0.36)))
        tip = (x + side * reach, canal + size * rng.uniform(0.1, 0.8))
        parts.append(canvas.stroke([facet, tip], (size * 0.42, size * 0.3)))
        if rib:
            parts.append(canvas.stroke([(x + side * size * 1.0, y + depth * 0.7), (tip[0] + side * 12, tip[1] - 2)], size * 0.42))
    if rng.random() < 0.75:
        parts.append(canvas.stroke([(x, back), (x + rng.normal(0, 1.5), back + spine)], (size * 0.34, size * 0.22)))
    parts.append(body(x, y, size, depth, 0, [(2, 0.03, 0.0), (3, 0.04, math.pi / 2)]))
    for part in parts:
        canvas.paint(part, hu["cortex"] * 0.85, within=inside)
    disc = rng.random() < 0.2
    for part in parts:
        canvas.paint(part, hu["spongy"], -size * 0.07, inside)
    if disc:
        canvas.paint(parts[-1], rng.uniform(70, 110), -size * 0.05)
    canvas.paint(body(x, canal, size * 0.62, size * 0.48), hu["fat"] * 0.3)
    canvas.paint(body(x, canal, size * 0.52, size * 0.4), hu["csf"] + 8)
    canvas.paint(body(x, canal, size * 0.33, size * 0.25), 38)


def arc(
    rx: float, ry: float, start: float, stop: float, x: float = 0.0, y: float = 0.0, count: int = 9
) -> list[tuple[float, float]]:
    """Points along an ellipse from angle `start` to `stop` (rad, 0 to the right, clockwise on the image)."""
    return [(x + rx * math.cos(t), y + ry * math.sin(t)) for t in np.linspace(start, stop, count)]


def airway(canvas: Canvas, x: float, y: float, rx: float, ry: float, wall: float = 1.5, angle: float = 0.0, hu: float = 40.0):
    """A tube of air with a soft wall."""
    canvas.shell(canvas.ellipse(x, y, rx, ry, angle), wall, hu, AIR, grow=wall)


def strands(
    canvas: Canvas, rng: np.random.Generator, count: int, box: Sequence[float], hu: float, within: np.ndarray, width=(0.6, 2.2)
):
    """Short thin curves of value `hu` in the box (x0, y0, x1, y1): vessels and septa within fat."""
    for _ in range(count):
        start = rng.uniform(box[:2], box[2:])
        way, length = rng.uniform(0, 2 * math.pi), rng.uniform(2, 16)
        middle = start + length / 2 * np.array([math.cos(way), math.sin(way)])
        way += rng.normal(0, 0.7)
        end = middle + length / 2 * np.array([math.cos(way), math.sin(way)])
        canvas.paint(canvas.stroke([start, middle, end], rng.uniform(*width)), hu, within=within)


def blob(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, rx: float, ry: float, angle: float = 0.0, strength: float = 0.07
):
    """An ellipse with a random smooth outline, its place and size jittered by some percent."""
    rx, ry = rx * rng.normal(1, 0.06), ry * rng.normal(1, 0.06)
    at = rng.normal((x, y), 0.06 * min(rx, ry))
    return canvas.ellipse(at[0], at[1], rx, ry, angle + rng.normal(0, 0.06), waves(rng, strength))


def table(canvas: Canvas, rng: np.random.Generator, top: float):
    """A curved table: thin carbon skins over foam, from `top` mm below the middle, sometimes with rails under it."""
    width, sag, depth = rng.uniform(190, 260), rng.uniform(10, 55), rng.uniform(12, 45)
    x = np.linspace(-1, 1, 13)
    upper = np.stack([x * width, top - sag * x**2 * rng.uniform(0.8, 1.2)], 1)
    lower = np.stack([x * width, upper[:, 1] + depth * np.sqrt(np.maximum(1 - x**2, 0))], 1)
    outline, skin = rng.uniform(-300, 150), rng.uniform(1.5, 3)
    if rng.random() < 0.5:
        for t in np.linspace(0.1, 0.9, 6):
            canvas.paint(canvas.stroke(upper + t * (lower - upper), depth * 0.24), rng.uniform(-985, -940))
    canvas.paint(canvas.stroke(upper, skin), outline)
    canvas.paint(canvas.stroke(lower, skin), outline)
    if rng.random() < 0.3:
        for side in (-1, 1):
            canvas.paint(
                canvas.stroke([(side * width * 0.9, top + depth), (side * width * 0.5, top + depth + 50)], 3), outline + 300
            )

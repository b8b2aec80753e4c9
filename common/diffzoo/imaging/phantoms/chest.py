"""Axial chest slices from the shoulders to the dome of the liver."""

import math

import numpy as np

from diffzoo.imaging.phantoms.bones import airway, arc, blob, bone, strands, vertebra
from diffzoo.imaging.phantoms.canvas import AIR, Canvas, Region, waves


def trunk(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float, fat: float, complete: bool = True
) -> np.ndarray:
    """Skin and fat round a trunk of half axes (a, b) mm without its fat; returns the cover inside the skin.

    Where the trunk is not the `complete` outline, what is drawn already stays free of skin.
    """
    shape = [(2, 0.0, 0.0), (4, -0.035, 0.0), *waves(rng, 0.015, (3, 4, 5, 6))]
    region = canvas.ellipse(0, 0, a + fat, b + fat * rng.uniform(0.6, 1), 0, shape)
    canvas.paint(region, hu["skin"], within=None if complete else (canvas.image < -500).astype(np.float32))
    canvas.paint(region, hu["fat"], -2)
    inside = canvas.mask(region, grow=-2)
    strands(canvas, rng, 35, (-a - fat, -b - fat, a + fat, b + fat), -20, inside, (0.5, 1.5))
    return inside


def rib_ring(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float, count: int):
    """Ribs cut obliquely: short thick arcs on an ellipse, `count` on each side, none at the front and back midline."""
    for side in (-1, 1):
        for turn in np.linspace(-1.1, 1.25, count) + rng.normal(0, 0.06, count):
            half = rng.uniform(4, 30) / (2 * a) * (1.4 if turn > 0.5 else 1)
            tilt = rng.normal(0, 3)
            points = [
                (side * x + tilt * side * k, y)
                for k, (x, y) in zip((-1, -0.5, 0, 0.5, 1), arc(a, b, turn - half, turn + half, count=5), strict=True)
            ]
            bone(canvas, canvas.stroke(points, rng.uniform(5, 9)), hu, rng.uniform(1.1, 2.2))


def back_muscles(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], x: float, y: float, inside: np.ndarray, wide: float = 21
):
    """Erector spinae beside the spinous process at (x, y)."""
    for side in (-1, 1):
        shape = blob(canvas, rng, x + side * (wide + 4), y, wide, rng.uniform(11, 17), side * -0.2)
        canvas.paint(shape, hu["muscle"], within=inside)
        cover = canvas.mask(shape) * inside
        strands(canvas, rng, 6, (x + side * wide - 14, y - 10, x + side * wide + 14, y + 10), -40, cover)


def chest_slice(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    """A chest at a random height: 0 the lung tips, 1 the liver dome."""
    height, fat = rng.uniform(0, 1), 4 + 30 * rng.beta(1.3, 2.5)
    grow = 0.62 + 0.38 * min(height / 0.35, 1)  # the thorax widens downwards
    a, b = rng.uniform(116, 142) * grow, rng.uniform(78, 102) * (0.8 + 0.2 * grow)
    muscle = rng.uniform(10, 20) * (1.6 if height < 0.35 else 1)
    outer = max(a + muscle, rng.uniform(135, 165)) if height < 0.45 else a + muscle
    shoulders = height < 0.4
    if shoulders:
        _shoulders(canvas, rng, hu, a, b, fat)
    breasts = height > 0.3 and rng.random() < 0.5
    if breasts:
        _breasts(canvas, rng, hu, outer, b + muscle + fat)
    inside = trunk(canvas, rng, hu, outer, b + muscle, fat, not breasts)
    _wall(canvas, rng, hu, a, b, muscle, height, inside)
    cage = canvas.ellipse(0, 0, a, b, 0, [(2, 0.02, 0.0), (3, 0.02, math.pi / 2)])
    canvas.paint(cage, hu["muscle"], 2)
    rib_ring(canvas, rng, hu, a - 4, b - 4, rng.integers(5, 9))
    window, distance = cage
    cavity = (window, distance + 9)
    canvas.paint(cavity, hu["fat"] * 0.9, 1)
    spine = b * rng.uniform(0.6, 0.68)
    lungs = _lungs(canvas, rng, hu, cavity, a, b, height)
    _mediastinum(canvas, rng, hu, a, b, height, spine)
    size = rng.uniform(14, 18)
    if height > 0.75:
        _dome(canvas, rng, hu, lungs, a, b, (height - 0.75) / 0.25)
    vertebra(canvas, rng, 0, spine, size, hu, inside, rib=rng.random() < 0.6)
    back_muscles(canvas, rng, hu, 0, spine + size * 2.4, inside)
    if height > 0.2:
        y = -b + rng.uniform(-1, 5)
        bone(canvas, blob(canvas, rng, 0, y, rng.uniform(14, 26), rng.uniform(5, 7)), hu, 1.2)


def _shoulders(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float, fat: float):
    """Upper arms: raised (close to the head end, cut across) or down at the sides."""
    for side in (-1, 1):
        x, y = side * (a + rng.uniform(50, 85) + fat), rng.uniform(-30, 25)
        arm = blob(canvas, rng, x, y, 44 + fat * 0.5, 46 + fat * 0.5)
        canvas.paint(arm, hu["skin"])
        canvas.paint(arm, hu["fat"], -2)
        canvas.paint(blob(canvas, rng, x, y, 36, 38), hu["muscle"])
        canvas.paint(canvas.stroke([(x - side * 30, y + 20), (x + side * 10, y + 32)], 3), hu["fat"])
        head = blob(canvas, rng, x - side * 3, y, *((22, 22) if rng.random() < 0.6 else (12, 12)))
        bone(canvas, head, hu, rng.uniform(1.5, 4))


def _breasts(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float):
    rise, wide = 28 * rng.beta(1.2, 2), rng.uniform(50, 75)
    for side in (-1, 1):
        x, y = side * a * rng.uniform(0.5, 0.6), -b + 30 - rise * 0.4
        breast = blob(canvas, rng, x, y, wide, 26 + rise * 0.6, side * 0.5)
        canvas.paint(breast, hu["skin"])
        canvas.paint(breast, hu["fat"], -2)
        gland = canvas.mask(breast, grow=-9)
        spread = wide * 0.5
        strands(canvas, rng, rng.integers(5, 40), (x - spread, y - 20, x + spread, y + 5), 30, gland, (1, 5))


def _wall(
    canvas: Canvas,
    rng: np.random.Generator,
    hu: dict[str, float],
    a: float,
    b: float,
    muscle: float,
    height: float,
    inside: np.ndarray,
):
    """Chest wall outside the ribs: pectorals, serratus and latissimus, the scapula with its muscles in high slices."""
    canvas.paint(canvas.ellipse(0, 2, a + rng.uniform(3, 6), b + rng.uniform(2, 5)), hu["muscle"], within=inside)
    for side in (-1, 1):
        if height < 0.75:
            front = arc(side * (a + 6), b + 6, -1.3, -0.45)
            canvas.paint(canvas.stroke(front, np.linspace(4, muscle, 9)), hu["muscle"], within=inside)
            canvas.paint(canvas.stroke(front, 1.2), hu["fat"], within=inside)
        side_wall = arc(side * (a + 7), b + 7, 0.0, 1.0)
        canvas.paint(canvas.stroke(side_wall, np.linspace(6, muscle * 1.2, 9)), hu["muscle"], within=inside)
        if height < 0.6:
            _scapula(canvas, rng, hu, side, a, b, inside)


def _scapula(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], side: int, a: float, b: float, inside: np.ndarray):
    start, stop = rng.uniform(0.1, 0.4), rng.uniform(0.8, 1.1)
    points = [(side * x, y) for x, y in arc(a + 18, b + 14, start, stop, count=5)]
    canvas.paint(canvas.stroke(points, (24, 30, 28, 22, 12)), hu["muscle"], within=inside)
    canvas.paint(canvas.stroke([(x * 0.94, y * 0.94) for x, y in points], 1.5), hu["fat"], within=inside)
    blade = canvas.stroke(points, (rng.uniform(6, 13), 4, 3.5, 4, 6))
    bone(canvas, blade, hu, 1.4, inside)
    if rng.random() < 0.5:  # the spine of the scapula
        x, y = points[1]
        bone(canvas, canvas.stroke([(x, y), (x + side * 4, y + 22)], (4, 6)), hu, 1.3, inside)


def _lungs(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], cavity: Region, a: float, b: float, height: float
) -> np.ndarray:
    """Lungs in the cage with their vessels; returns their cover."""
    fill = min(0.55 + height * 1.6, 1.05)
    field = canvas.mask(cavity)
    lungs = np.zeros_like(field)
    for side in (-1, 1):
        lung = blob(canvas, rng, side * a * 0.53, 4, a * 0.47 * fill, b * 0.98 * fill, side * -0.08, 0.03)
        lungs = np.maximum(lungs, canvas.mask(lung) * field)
    x = canvas.axis[None, :]
    y = canvas.axis[:, None]
    gravity = rng.uniform(0, 0.5) * y  # the lung is denser behind
    air = hu["lung"] + gravity + 28 * canvas.grain(rng, 4.0, 150) + 14 * canvas.grain(rng, 22.0, 150)
    if rng.random() < 0.15:  # ground glass or fibrosis in a region
        air = air + rng.uniform(100, 400) * np.exp(-((x - rng.uniform(-80, 80)) ** 2 + (y - rng.uniform(-40, 50)) ** 2) / 900)
    canvas.blend(lungs, air.astype(np.float32))
    _vessels(canvas, rng, a, b, lungs)
    return lungs


def _vessels(canvas: Canvas, rng: np.random.Generator, a: float, b: float, lungs: np.ndarray):
    """Lung vessels: branching trees from both hila, and many cut across as dots that shrink with the distance from the hilum."""
    for side in (-1, 1):
        hilum = np.array([side * a * 0.3, rng.uniform(-5, 18)])
        for way in rng.uniform(-1.5, 1.5, rng.integers(5, 10)):
            at, heading, width = hilum, (0.0 if side > 0 else math.pi) + way * side, rng.uniform(3, 8)
            chain = [at]
            for _ in range(rng.integers(2, 6)):
                heading += rng.normal(0, 0.3)
                chain.append(chain[-1] + rng.uniform(6, 16) * np.array([math.cos(heading), math.sin(heading)]))
            canvas.paint(canvas.stroke(chain, np.linspace(width, 0.8, len(chain))), rng.uniform(-20, 50), within=lungs)
        for away, y, luck in rng.uniform((a * 0.1, -b, 0.4), (a, b, 1.7), (rng.integers(50, 110), 3)):
            x = side * away
            distance = math.hypot(x - hilum[0], y - hilum[1])
            r = luck * max(2.6 * math.exp(-distance / 45), 0.55)
            if rng.random() < 0.3:
                end = (x + rng.normal(0, 6), y + rng.normal(0, 6))
                canvas.paint(canvas.stroke([(x, y), end], (2 * r, 1.2 * r)), rng.uniform(-150, 30), within=lungs)
                continue
            canvas.paint(canvas.ellipse(x, y, r, r * rng.uniform(0.8, 1.6)), rng.uniform(-150, 45), within=lungs)
            if distance < 50 and rng.random() < 0.2:  # a bronchus beside its artery
                airway(canvas, x + 2 * r, y, r, r, 0.8)
        if rng.random() < 0.12:  # nodule
            x, y = rng.uniform((a * 0.3, -b * 0.6), (a * 0.8, b * 0.6))
            canvas.paint(blob(canvas, rng, side * x, y, *rng.uniform(3, 10, 2), 0, 0.12), 40, within=lungs)


def _mediastinum(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float, height: float, spine: float):
    blood, fat = hu["blood"], hu["fat"]
    wide = rng.uniform(26, 36)
    chain = [(0, -b * 0.78), (0, -b * 0.3), (2, b * 0.2), (0, spine)]
    core = canvas.stroke(chain, (wide * 0.9, wide * 1.7, wide * 1.8, wide))
    canvas.paint(core, fat)
    cover = canvas.mask(core)
    strands(canvas, rng, 20, (-wide, -b * 0.7, wide, b * 0.4), 30, cover, (1, 5))
    gullet = (rng.uniform(-8, 8), spine - rng.uniform(24, 30))
    canvas.shell(blob(canvas, rng, *gullet, 8, 5), 2.5, 45, AIR if rng.random() < 0.3 else 30)
    descending = rng.uniform(11, 16)
    if height > 0.3:
        canvas.paint(blob(canvas, rng, 24, spine - 14, descending, descending, 0, 0.02), blood)
    if height < 0.3:  # great vessels, trachea, clavicle heads
        for x, y, r in ((-18, -b * 0.35, 8), (16, -b * 0.3, 5), (22, -b * 0.1, 5.5), (-14, -b * 0.12, 6), (12, -b * 0.5, 7)):
            canvas.paint(blob(canvas, rng, x, y, r, r), blood)
        airway(canvas, rng.normal(-2, 3), spine - rng.uniform(38, 48), rng.uniform(7, 10), rng.uniform(7, 10))
        for side in (-1, 1):
            points = [(side * 20, -b * 0.85), (side * 50, -b * 0.98), (side * rng.uniform(70, 110), -b * rng.uniform(0.6, 0.9))]
            bone(canvas, canvas.stroke(points[: rng.integers(2, 4)], rng.uniform(9, 14)), hu, 1.8)
    elif height < 0.42:  # aortic arch
        arch = [(-10, -b * 0.42), (8, -b * 0.25), (22, b * 0.05), (25, spine - 16)]
        canvas.paint(canvas.stroke(arch, rng.uniform(22, 29)), blood)
        canvas.paint(blob(canvas, rng, -24, -b * 0.25, 8, 10), blood)
        airway(canvas, -4, spine - 42, 9, 9)
    elif height < 0.58:  # pulmonary trunk and main bronchi
        canvas.paint(blob(canvas, rng, -14, -b * 0.35, 16, 16, 0, 0.02), blood)
        canvas.paint(canvas.stroke([(14, -b * 0.45), (22, -b * 0.2), (38, 2)], (26, 24, 14)), blood * rng.uniform(0.9, 1.2))
        canvas.paint(canvas.stroke([(14, -b * 0.25), (-20, -b * 0.05), (-42, 4)], (22, 18, 14)), blood)
        canvas.paint(blob(canvas, rng, -32, -b * 0.25, 8, 9), blood)
        for side in (-1, 1):
            points = [(side * 4, spine - 38), (side * 20, spine - 36), (side * 34, spine - 32)]
            canvas.paint(canvas.stroke(points, (16, 14, 11)), 40)
            canvas.paint(canvas.stroke(points, (13, 11, 8)), AIR)
    else:
        _heart(canvas, rng, hu, a, b)


def _heart(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float):
    x, y, tilt = rng.uniform(8, 26), -b * rng.uniform(0.2, 0.32), rng.uniform(0.3, 0.8)
    rx, ry = rng.uniform(52, 68), rng.uniform(38, 50)
    shape = waves(rng, 0.03)
    canvas.paint(canvas.ellipse(x, y, rx, ry, tilt, shape), hu["fat"], rng.uniform(3, 9))
    canvas.paint(canvas.ellipse(x, y, rx, ry, tilt, shape), hu["muscle"] + hu["blood"] * 0.25)
    rooms = ((0.35, 0.12, 0.42, 0.42), (-0.1, -0.45, 0.4, 0.36), (-0.45, 0.35, 0.36, 0.42), (-0.62, -0.15, 0.3, 0.4))
    c, s = math.cos(tilt), math.sin(tilt)
    for u, v, p, q in rooms:
        at = (x + c * u * rx - s * v * ry, y + s * u * rx + c * v * ry)
        canvas.paint(blob(canvas, rng, *at, p * rx, q * ry, tilt), hu["blood"])
    for _ in range(rng.integers(1, 5)):  # grooves of fat and coronary vessels
        turn = rng.uniform(0, 2 * math.pi)
        at = (x + rx * math.cos(turn) * 0.92, y + ry * math.sin(turn) * 0.92)
        canvas.paint(blob(canvas, rng, *at, *rng.uniform(3, 9, 2)), hu["fat"])
        canvas.paint(canvas.ellipse(*at, 1.8, 1.8), rng.choice([hu["blood"], 600]))


def _dome(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], lungs: np.ndarray, a: float, b: float, share: float):
    """The dome of the diaphragm: liver on the image's left, spleen or stomach on its right, growing with `share`."""
    liver = rng.normal(58, 6) + 0.25 * hu["blood"] * (hu["blood"] > 80)
    canvas.paint(blob(canvas, rng, -a * 0.48, b * 0.05, a * (0.2 + 0.3 * share), b * (0.3 + 0.6 * share)), liver, within=lungs)
    if rng.random() < 0.7:
        left = (a * 0.5, b * 0.15, a * (0.1 + 0.3 * share), b * (0.2 + 0.4 * share))
        canvas.paint(blob(canvas, rng, *left), hu["fat"], 5, within=lungs)
        canvas.shell(blob(canvas, rng, *left), 4, 50, rng.choice([liver - 8, AIR, 20]), within=lungs)

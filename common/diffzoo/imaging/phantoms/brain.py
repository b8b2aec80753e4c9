"""Axial head slices through the brain case: layered skull, sulci, ventricles, and the base with orbits and petrous bone."""

import math

import numpy as np

from diffzoo.imaging.phantoms.bones import arc, blob
from diffzoo.imaging.phantoms.canvas import AIR, Canvas, Region, waves


def skull_shape(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], scale: float = 1.0
) -> tuple[Region, float, float]:
    """Paint scalp and skull of a braincase; returns the outer surface, the half axes of the skull being (width, length) in mm."""
    rx, ry = scale * rng.uniform(64, 76), scale * rng.uniform(82, 97)
    outline = [(1, rng.uniform(0.0, 0.03), -math.pi / 2), *waves(rng, 0.008, (2, 3, 4)), (4, 0.008, math.pi)]
    outer = canvas.ellipse(0, 0, rx, ry, 0, outline)
    scalp = rng.uniform(3, 8)
    window, distance = canvas.ellipse(rng.normal(0, 0.7), rng.normal(0.5, 1), rx + scalp, ry + scalp, 0, outline)
    canvas.paint((window, distance), hu["skin"])
    canvas.paint((window, distance), hu["fat"] * rng.uniform(0.5, 1), -1.8)
    canvas.paint(outer, hu["muscle"] * 0.7, 1.2)
    return outer, rx, ry


def skull_bone(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], outer: Region) -> np.ndarray:
    """Paint the calvaria under `outer`: outer table, diploe where it is thick, inner table; returns the cover of its inside."""
    thick, cortex = rng.uniform(4.5, 9), rng.uniform(1.2, 2.2)
    window, distance = outer
    v, u = canvas.axis[window[0]][:, None], canvas.axis[window[1]][None, :]
    theta = np.arctan2(v, u)
    # frontal and occipital bone are thicker than the temporal squama
    local = thick * (1 - rng.uniform(0.1, 0.35) * np.cos(2 * theta) + 0.12 * np.cos(3 * theta + rng.uniform(0, 6)))
    crest = rng.uniform(0, 6) * np.exp(-((theta - math.pi / 2) ** 2) / 0.03)  # internal occipital crest
    local = local * (1 + 0.09 * canvas.grain(rng, 7.0, 110)[window])
    inner = (window, distance + (local + crest).astype(np.float32))
    canvas.paint(outer, hu["cortex"] * 1.15)
    diploe = np.clip(-(distance + cortex) / 0.8, 0, 1) * np.clip((inner[1] - cortex) / 0.8, 0, 1)
    marrow = hu["spongy"] * 2 + 120 * canvas.grain(rng, 3.0, 100)[window]
    canvas.image[window] += diploe * (marrow - canvas.image[window])
    canvas.paint(inner, hu["cortex"] * 1.1)
    canvas.paint(inner, hu["csf"] + 10, -0.8)
    return canvas.mask(inner, grow=-0.8)


def cortex(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], inside: np.ndarray, depth: Region, fine: float = 3.2
) -> float:
    """Fill `inside` with white matter and a grey ribbon round sulci that narrow below `depth`; returns the grey HU."""
    folds = np.abs(canvas.grain(rng, fine, 100))  # its zero lines wind as sulci do
    deep = np.full_like(canvas.image, 40.0)
    deep[depth[0]] = -depth[1]
    atrophy, reach = rng.uniform(0.15, 0.65), rng.uniform(16, 30)
    fade = np.clip(1 - (deep - 6) / reach, 0, 1)
    grey, white = rng.normal(38, 2), rng.normal(29, 2)
    soft = max(1.2 * canvas.step / fine, 0.12)
    is_grey = np.clip((0.75 * fade + 0.1 - folds) / soft / 2, 0, 1)
    canvas.blend(inside, white + (grey - white) * is_grey)
    sulci = np.clip((atrophy * fade - folds) / soft + 0.5 * (fade > 0), 0, 1) * (fade > 0)
    canvas.blend(inside * sulci, hu["csf"])
    return grey


def brain_level(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], height: float):
    """A slice above the skull base; `height` from 0 (basal ganglia) to 1 (vertex)."""
    outer, rx, ry = skull_shape(canvas, rng, hu, math.sqrt(max(1 - (0.85 * height) ** 2, 0.2)))
    inside = skull_bone(canvas, rng, hu, outer)
    grey = cortex(canvas, rng, hu, inside, outer)
    if height < 0.35:
        for side in (-1, 1):  # Sylvian fissure and insula
            x = side * rx * rng.uniform(0.5, 0.58)
            points = [(side * rx * 0.85, -ry * 0.22), (x + side * 4, -ry * 0.18), (x, -ry * 0.02), (x + side * 3, ry * 0.16)]
            canvas.paint(canvas.stroke(points, rng.uniform(5, 8)), grey, within=inside)
            canvas.paint(canvas.stroke(points, rng.uniform(0.6, 3.0)), hu["csf"], within=inside)
        _ganglia(canvas, rng, rx, ry, grey)
        _temples(canvas, rng, hu, rx, ry)
    if height < 0.65:
        _ventricles(canvas, rng, hu, rx, ry, height)
    split = rng.normal(0, 1.5)
    fissure = [(0, -ry), (split, -ry * 0.45)], [(split, ry * 0.4), (0, ry)]
    if height > 0.55:
        fissure = ([(0, -ry), (split, 0), (0, ry)],)
    for points in fissure:
        canvas.paint(canvas.stroke(points, rng.uniform(1.5, 5)), hu["csf"], within=inside)
        canvas.paint(canvas.stroke(points, rng.uniform(0.8, 1.8)), rng.uniform(45, 75), within=inside)
    canvas.paint(canvas.ellipse(0, ry * 0.9, 4, 5), rng.uniform(50, 75), within=inside)  # sagittal sinus
    if rng.random() < 0.25:  # a bleed or an infarct
        x, y = rng.uniform(-0.6, 0.6) * rx, rng.uniform(-0.6, 0.6) * ry
        canvas.paint(
            blob(canvas, rng, x, y, rng.uniform(4, 20), rng.uniform(4, 20), 0, 0.15), rng.choice([70, 62, 18]), within=inside
        )


def _temples(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], rx: float, ry: float):
    """Temporal muscles outside the skull, and a frontal sinus within it."""
    scalp = (np.abs(canvas.image - hu["fat"] * 0.75) < 60).astype(np.float32)
    for side in (-1, 1):
        canvas.paint(canvas.ellipse(side * rx * 0.93, -ry * 0.3, 12, ry * 0.32, side * 0.25), hu["muscle"], within=scalp)
        if rng.random() < 0.4:
            sinus = blob(
                canvas, rng, side * rng.uniform(6, 14), -ry * 0.93, rng.uniform(5, 13), rng.uniform(2, 4), side * 0.15, 0.1
            )
            canvas.shell(sinus, 1.2, hu["cortex"], AIR, grow=1.2, within=(canvas.image > 150).astype(np.float32))


def _ganglia(canvas: Canvas, rng: np.random.Generator, rx: float, ry: float, grey: float):
    """Caudate, lentiform nucleus and thalamus."""
    for side in (-1, 1):
        canvas.paint(blob(canvas, rng, side * rx * 0.36, -ry * 0.02, rx * 0.1, ry * 0.17, side * -0.35), grey + 1)
        canvas.paint(blob(canvas, rng, side * rx * 0.15, ry * 0.12, rx * 0.13, ry * 0.15, side * 0.4), grey)
        canvas.paint(blob(canvas, rng, side * rx * 0.2, -ry * 0.25, rx * 0.08, ry * 0.11, side * -0.3), grey + 1)


def _ventricles(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], rx: float, ry: float, height: float):
    swell, gap = rng.uniform(0.6, 1.8), rx * 0.11
    for side in (-1, 1):
        w = swell * rng.normal(1, 0.1)
        if height > 0.35:  # bodies, side by side
            body = [(side * gap, -ry * 0.3), (side * gap * 1.3, 0), (side * gap * 2.2, ry * 0.32)]
            canvas.paint(canvas.stroke(body, (5 * w, 7 * w, 6 * w)), hu["csf"])
            continue
        horn = [(side * gap * 0.7, -ry * 0.2), (side * gap * 1.7, -ry * 0.38)]
        canvas.paint(canvas.stroke(horn, (3 * w, 6 * w)), hu["csf"])
        atrium = [(side * rx * 0.3, ry * 0.3), (side * rx * 0.38, ry * 0.42), (side * rx * 0.3, ry * 0.58)]
        canvas.paint(canvas.stroke(atrium, (4 * w, 7 * w, 3 * w)), hu["csf"])
        if rng.random() < 0.5:  # calcified choroid plexus
            canvas.paint(canvas.ellipse(side * rx * 0.36, ry * 0.38, 2, 3.2), rng.uniform(80, 500))
    if height <= 0.35:
        canvas.paint(canvas.stroke([(0, -ry * 0.05), (0, ry * 0.22)], rng.uniform(1.5, 5) * swell), hu["csf"])
        canvas.paint(blob(canvas, rng, 0, ry * 0.34, rx * 0.2, ry * 0.05), hu["csf"] + 4)  # quadrigeminal cistern
        if rng.random() < 0.5:
            canvas.paint(canvas.ellipse(0, ry * 0.3, 2.2, 2.6), rng.uniform(100, 600))  # pineal


def base_level(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    """The skull base: orbits, ethmoid and sphenoid air, temporal lobes, petrous bone, mastoid cells, cerebellum."""
    _, rx, ry = skull_shape(canvas, rng, hu, rng.uniform(0.93, 1.0))
    front = -ry * rng.uniform(0.9, 0.98)
    skin = [canvas.ellipse(0, front + 38, rx * 0.93, 46), canvas.ellipse(0, front - 2, rng.uniform(11, 15), rng.uniform(10, 22))]
    for region in skin:
        canvas.paint(region, hu["skin"])
        canvas.paint(region, hu["fat"] * 0.7, -2)
    ears(canvas, rng, hu, rx, ry * 0.15)
    canvas.paint(canvas.ellipse(0, 4, rx, ry * 0.96), hu["muscle"])
    inside = skull_bone(canvas, rng, hu, canvas.ellipse(0, ry * 0.2, rx * 0.97, ry * 0.78, 0, waves(rng, 0.01)))
    edge = canvas.ellipse(0, ry * 0.2, rx * 0.9, ry * 0.7)
    cortex(canvas, rng, hu, inside, edge, fine=rng.uniform(2.6, 4.0))
    _cisterns(canvas, rng, hu, inside, ry)
    petrous(canvas, rng, hu, rx, ry * 0.2)
    _sphenoid(canvas, rng, hu, ry)
    for side in (-1, 1):  # temporal muscle outside the squama
        canvas.paint(blob(canvas, rng, side * rx * 0.9, -ry * 0.34, 7, ry * 0.24, side * 0.35), hu["muscle"])
        orbit(canvas, rng, hu, side, front + rng.uniform(22, 27))
    ethmoid(canvas, rng, hu, front + 4, front + rng.uniform(48, 56), rng.uniform(9, 13))


def _cisterns(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], inside: np.ndarray, ry: float):
    canvas.paint(blob(canvas, rng, 0, ry * 0.02, 16, 10, 0, 0.15), hu["csf"], within=inside)
    canvas.paint(blob(canvas, rng, 0, ry * 0.2, 15, 12), 32, within=inside)  # brain stem
    canvas.paint(
        blob(canvas, rng, 0, ry * 0.42, rng.uniform(4, 10), rng.uniform(3, 7)), hu["csf"], within=inside
    )  # fourth ventricle
    for side in (-1, 1):
        canvas.paint(canvas.stroke([(side * 58, ry * 0.55), (side * 14, ry * 0.22)], 1.5), 60, within=inside)  # tentorium
    canvas.paint(canvas.stroke([(0, ry * 0.65), (0, ry)], 1.6), 60, within=inside)


def _sphenoid(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], ry: float):
    middle = -ry * 0.2
    for side in (-1, 1):  # greater wings, from the body out to the lateral orbital wall
        wing = [(side * 14, middle), (side * 34, middle - 8), (side * rng.uniform(50, 56), -ry * rng.uniform(0.4, 0.5))]
        canvas.shell(canvas.stroke(wing, (8, 5, rng.uniform(6, 12))), 1.6, hu["cortex"], hu["spongy"] * 1.5)
    canvas.shell(blob(canvas, rng, 0, middle, 18, 14), 1.8, hu["cortex"] * 0.8, hu["spongy"])
    canvas.shell(blob(canvas, rng, 0, middle + 16, 11, 6), 1.6, hu["cortex"], hu["spongy"])  # dorsum sellae and clivus
    if rng.random() < 0.8:
        for side in (-1, 1):
            hollow = rng.uniform(5, 9)
            canvas.paint(blob(canvas, rng, side * hollow, middle - 2, hollow - 0.5, rng.uniform(6, 11), 0, 0.1), AIR)


def petrous(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], rx: float, y: float):
    """Petrous pyramids with labyrinth, mastoid air cells and the ear canal, at height `y`."""
    slant = rng.uniform(14, 26)
    for side in (-1, 1):
        points = [(side * rx * 0.93, y + rng.normal(4, 2)), (side * rx * 0.55, y - slant * 0.4), (side * 13, y - slant)]
        canvas.shell(canvas.stroke(points, (rng.uniform(20, 28), 15, 7)), 2, hu["cortex"] * 1.2, hu["cortex"] * 0.75)
        canvas.paint(blob(canvas, rng, side * rx * 0.55, y - slant * 0.35, 8, 6), min(hu["cortex"] * 1.4, 1900))
        for _ in range(3):  # labyrinth and inner canal
            at = rng.normal((side * rx * 0.5, y - slant * 0.4), 4)
            canvas.paint(canvas.ellipse(*at, rng.uniform(0.8, 2.2), rng.uniform(0.8, 2.2)), 30)
        mastoid = blob(canvas, rng, side * rx * 0.84, y + 10, 10, 17, side * 0.3, 0.12)
        canvas.paint(mastoid, hu["cortex"])
        canvas.paint(mastoid, hu["spongy"], -2)
        cells = canvas.mask(mastoid, grow=-1.5)
        for _ in range(rng.integers(6, 60)):
            at = rng.normal((side * rx * 0.83, y + 10), (5.5, 8))
            canvas.paint(canvas.ellipse(*at, *rng.uniform(0.7, 3, 2)), rng.uniform(-1000, -600), within=cells)
        if rng.random() < 0.7:
            points = [(side * (rx + 9), y - 6), (side * rx * 0.9, y - 9), (side * rx * 0.72, y - 7)]
            canvas.paint(canvas.stroke(points, 9), hu["cortex"] * 0.4, within=cells)
            canvas.paint(canvas.stroke(points, (6, 5, rng.uniform(4, 8))), AIR)


def ears(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], rx: float, y: float):
    """Auricles: a thin curved flap on each side with air behind it."""
    for side in (-1, 1):
        lean, long = rng.uniform(2, 13), rng.uniform(14, 30)
        points = [(side * (rx - 2), y), (side * (rx + 6), y + 3), (side * (rx + 7 + lean * 0.8), y + long * 0.6)]
        points.append((side * (rx + 4 + lean), y + long))
        canvas.paint(canvas.stroke(points, (10, 7, 4, 3)), hu["skin"] + 20)


def orbit(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], side: int, y: float):
    """Orbit with its bony walls, fat, eye and lens, optic nerve and rectus muscles; `y` is the middle of the eye."""
    x, apex = side * rng.uniform(30, 34), (side * rng.uniform(10, 13), y + rng.uniform(34, 40))
    rim = [(side * 52, y - 2), (side * 49, y + 9), (side * 34, y + 24), (apex[0] + side * 4, apex[1])]
    canvas.shell(canvas.stroke(rim, (9, 6, 4, 3)), 1.4, hu["cortex"], hu["spongy"])
    cone = canvas.stroke([(x, y), (x * 0.75, y + 16), apex], (37, 24, 8))
    canvas.paint(cone, hu["cortex"] * 0.5, 1.0)
    canvas.paint(cone, hu["fat"])
    radius = rng.uniform(11, 13)
    canvas.paint(canvas.stroke([(x, y + 8), (x * 0.72, y + 20), apex], (3, 4, 5)), 38)
    for offset in (-1, 1):
        points = [(x + offset * radius, y + 2), (x * 0.78 + offset * 9, y + 16), apex]
        canvas.paint(canvas.stroke(points, (1.5, 4, 3)), hu["muscle"])
    canvas.paint(canvas.stroke([(x - 17, y - 4), (x, y - radius - 3), (x + 17, y - 4)], rng.uniform(3, 6)), hu["skin"])  # lids
    eye = canvas.ellipse(x, y - 2, radius, radius * rng.uniform(0.97, 1.08))
    canvas.shell(eye, 1.4, 45, rng.uniform(5, 18))
    canvas.paint(canvas.ellipse(x, y - 0.72 * radius, 4.6, 2), rng.uniform(60, 110))


def ethmoid(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], top: float, bottom: float, half: float):
    """Ethmoid labyrinth between the orbits from `top` to `bottom`: air cells with thin septa, and the nasal bones before it."""
    middle = (top + bottom) / 2
    ends = [(0, top + 5), (0, middle), (0, bottom - half)]
    block = canvas.stroke(ends, (half * 1.2, half * rng.uniform(1.7, 2), half * 2))
    canvas.paint(block, rng.uniform(100, 500), 1.2)
    canvas.paint(block, AIR if rng.random() < 0.75 else 30)
    inside = canvas.mask(block)
    wall = rng.uniform(0.7, 1.5)
    canvas.paint(canvas.stroke([(0, top), (rng.normal(0, 1), bottom)], wall), rng.uniform(100, 500), within=inside)
    for side in (-1, 1):
        for y in np.arange(top, bottom, rng.uniform(6, 12)):
            points = [(side * half * rng.uniform(0.2, 0.4), y + rng.normal(0, 2)), (side * half, y + rng.normal(0, 3))]
            canvas.paint(canvas.stroke(points, wall), rng.uniform(0, 500), within=inside)
        canvas.paint(
            canvas.stroke([(side * half * 0.35, top), (side * half * 0.35, bottom)], wall + 1),
            rng.uniform(20, 200),
            within=inside,
        )
    canvas.paint(canvas.stroke(arc(half * 0.8, 8, -math.pi + 0.3, -0.3, 0, top + 4), 2.5), hu["cortex"] * 0.7)

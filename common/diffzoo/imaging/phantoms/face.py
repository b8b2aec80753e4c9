"""Axial head slices below the skull base: maxillary sinuses and nose, jaws with teeth, and the neck."""

import math

import numpy as np

from diffzoo.imaging.phantoms.bones import airway, blob, bone, strands, vertebra
from diffzoo.imaging.phantoms.brain import cortex, ears, petrous, skull_bone
from diffzoo.imaging.phantoms.canvas import AIR, TOP, Canvas, Region, waves


def _soft_head(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], regions: list[Region]) -> np.ndarray:
    """Skin, then fat with strands in the union of regions; returns its cover."""
    for region in regions:
        canvas.paint(region, hu["skin"])
    for region in regions:
        canvas.paint(region, hu["fat"], -rng.uniform(1.5, 2.5))
    inside = canvas.mask(*regions, grow=-2)
    strands(canvas, rng, 40, (-70, -95, 70, 90), hu["muscle"] * 0.6, inside)
    return inside


def _nape(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], y: float, rx: float, depth: float):
    """Neck muscles behind the spine at `y`: layered masses with fat planes between, sternomastoids at the sides."""
    for side in (-1, 1):
        for reach, across, along, angle in ((0.28, 0.26, 0.5, 0.15), (0.55, 0.24, 0.42, 0.5), (0.3, 0.3, 0.16, 0.2)):
            down = depth * (0.42 if along > 0.3 else 0.88)
            canvas.paint(blob(canvas, rng, side * reach * rx, y + down, across * rx, along * depth, -side * angle), hu["muscle"])
            strip = canvas.stroke([(side * reach * rx * 1.5, y + down * 0.6), (side * reach * rx * 0.8, y + down * 1.4)], 1.2)
            canvas.paint(strip, hu["fat"] * 0.6)
        canvas.paint(blob(canvas, rng, side * rx * 0.85, y + depth * 0.1, 7, 17, side * 0.5), hu["muscle"])
    canvas.paint(canvas.stroke([(0, y + depth * 0.3), (0, y + depth * 1.1)], 1.4), hu["fat"] * 0.5)


def _sheath(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], x: float, y: float):
    """Carotid artery and jugular vein on both sides."""
    for side in (-1, 1):
        canvas.paint(blob(canvas, rng, side * x, y, 3.2, 3.2), hu["blood"])
        canvas.paint(blob(canvas, rng, side * (x + 8), y + 3, *rng.uniform(3, 7, 2)), hu["blood"] * 0.9)
        if rng.random() < 0.15:
            canvas.paint(canvas.ellipse(side * x + 2.4, y, 1, 1.6), 700)  # calcified plaque


def maxilla_level(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    """Nose, maxillary sinuses, nasopharynx, condyles, and the bottom of the posterior fossa or the foramen magnum."""
    rx, front = rng.uniform(66, 75), -rng.uniform(84, 94)
    nose = rng.uniform(6, 22)
    back = canvas.ellipse(0, 18, rx, rng.uniform(72, 80), 0, waves(rng, 0.01))
    regions = [back, canvas.ellipse(0, front + 46, rx * 0.92, 50, 0, waves(rng, 0.02))]
    regions.append(canvas.stroke([(0, front + 8), (rng.normal(0, 1), front - nose)], (42, rng.uniform(14, 20))))
    inside = _soft_head(canvas, rng, hu, regions)
    ears(canvas, rng, hu, rx - 2, 8)
    for side in (-1, 1):
        canvas.paint(
            blob(canvas, rng, side * rx * 0.78, -26, 9, 24, side * 0.15), hu["muscle"], within=inside
        )  # masseter, temporalis
        canvas.paint(blob(canvas, rng, side * rx * 0.45, -20, 12, 17, -side * 0.5), hu["muscle"], within=inside)  # pterygoids
        canvas.paint(blob(canvas, rng, side * rx * 0.85, 4, 8, 14), rng.uniform(-20, 40), within=inside)  # parotid
    canvas.paint(blob(canvas, rng, 0, 0, 26, 12), hu["muscle"], within=inside)
    _fossa(canvas, rng, hu, rx)
    _midface(canvas, rng, hu, rx, front, nose)
    for side in (-1, 1):  # condyle or ramus of the mandible
        x, y = side * rng.uniform(48, 54), -rng.uniform(4, 12)
        bone(canvas, canvas.stroke([(x - side * 5, y + 2), (x + side * 4, y)], rng.uniform(6, 9)), hu, 1.5)
        if rng.random() < 0.6:  # coronoid process
            bone(canvas, canvas.stroke([(x - side, y - 20), (x - side * 2, y - 28)], rng.uniform(3, 5)), hu, 1.5)
    _sheath(canvas, rng, hu, 26, 2)


def _fossa(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], rx: float):
    if rng.random() < 0.6:
        wall = canvas.ellipse(0, 44, rx * rng.uniform(0.75, 0.9), rng.uniform(36, 46), 0, waves(rng, 0.015))
        cover = skull_bone(canvas, rng, hu, wall)
        cortex(canvas, rng, hu, cover, wall, fine=2.2)
        canvas.paint(blob(canvas, rng, 0, 18, 13, 10), hu["csf"], within=cover)
        canvas.paint(blob(canvas, rng, 0, 20, 10, 8), 31, within=cover)
        bone(canvas, blob(canvas, rng, 0, 2, 13, 8), hu, 1.8)  # clivus
        petrous(canvas, rng, hu, rx * 0.92, rng.uniform(14, 24))
        return
    _nape(canvas, rng, hu, 30, rx, 46)
    ring = canvas.ellipse(0, 30, rng.uniform(22, 28), rng.uniform(24, 30))
    bone(canvas, ring, hu, 2)
    canvas.paint(canvas.ellipse(0, 31, 15, 18), hu["csf"])
    canvas.paint(canvas.ellipse(0, 29, 7, 6), 34)
    for side in (-1, 1):
        tip = canvas.stroke([(side * rx * 0.72, 14), (side * rx * 0.76, 24)], rng.uniform(13, 20))
        bone(canvas, tip, hu, 1.5)
        cells = canvas.mask(tip, grow=-1.5)
        for _ in range(rng.integers(4, 25)):
            canvas.paint(canvas.ellipse(*rng.normal((side * rx * 0.74, 19), 5), *rng.uniform(1, 3.2, 2)), AIR, within=cells)


def _midface(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], rx: float, front: float, nose: float):
    depth, mucosa = rng.uniform(34, 44), rng.uniform(0.3, 2.5)
    top = front + rng.uniform(13, 18)
    airy = rng.random() < 0.85
    for side in (-1, 1):
        arch = [(side * 32, top + 2), (side * 52, top + 9), (side * rx * 0.86, top + 34), (side * rx * 0.84, top + 60)]
        bone(canvas, canvas.stroke(arch, (10, 9, 4.5, 4)), hu, 1.6)  # zygoma and its arch
        corners = [(side * 21, top + 9), (side * 33, top + 13), (side * 24, top + depth - 8)]
        sinus = canvas.stroke(corners + corners[:1], rng.uniform(13, 17))
        canvas.paint(sinus, hu["cortex"] * 0.75, 1.2)
        canvas.paint(sinus, 35)
        canvas.paint(sinus, AIR if airy or rng.random() < 0.5 else 25, -mucosa)
        canvas.paint(canvas.ellipse(side * 25, top + 16, 8, 8), AIR if airy else 25)
        plates = (
            [(side * 12, top + depth + 2), (side * 15, top + depth + 12)],
            [(side * 15, top + depth), (side * 22, top + depth + 12)],
        )
        for plate in plates:
            canvas.paint(canvas.stroke(plate, rng.uniform(1.5, 2.5)), hu["cortex"] * 0.8)
    cavity = canvas.stroke([(0, front + 12), (0, top + 14), (0, top + depth - 6)], (11, rng.uniform(22, 27), 25))
    canvas.paint(cavity, hu["cortex"] * 0.5, 1)
    canvas.paint(cavity, AIR)
    inside = canvas.mask(cavity)
    bow = rng.normal(0, 2)
    canvas.paint(
        canvas.stroke([(0, front - nose), (bow, (front + top + depth) / 2), (0, top + depth + 6)], rng.uniform(2, 4)), 60
    )
    canvas.paint(canvas.stroke([(0, front + 8), (bow, (front + top + depth) / 2), (0, top + depth)], 1.2), hu["cortex"] * 0.5)
    for side in (-1, 1):
        for y in np.linspace(top + 4, top + depth - 6, 3):  # turbinates
            shape = blob(canvas, rng, side * rng.uniform(5.5, 8.5), y, rng.uniform(2, 4), rng.uniform(4, 8), 0, 0.1)
            canvas.paint(shape, 45, within=inside)
        canvas.paint(
            canvas.stroke([(side * 4.5, front - nose * 0.6 + 2), (side * 5, front + 12)], rng.uniform(4, 6)), AIR
        )  # nostril
    airway(canvas, 0, top + depth + 14, rng.uniform(9, 15), rng.uniform(4, 10), 2)


def jaw_level(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    """Dental arch of one jaw, tongue, oropharynx, rami, first vertebrae, and neck muscles."""
    rx, front = rng.uniform(56, 68), -rng.uniform(76, 88)
    regions = [canvas.ellipse(0, 22, rx, rng.uniform(58, 68), 0, waves(rng, 0.015))]
    regions.append(canvas.ellipse(0, front + 44, rx * 0.9, 44, 0, waves(rng, 0.02)))
    regions.append(canvas.ellipse(0, front + 5, 22, rng.uniform(9, 17)))
    inside = _soft_head(canvas, rng, hu, regions)
    spine = rng.uniform(18, 26)
    _nape(canvas, rng, hu, spine, rx, 46)
    canvas.paint(blob(canvas, rng, 0, spine - 14, 24, 9), hu["muscle"], within=inside)
    for side in (-1, 1):
        x, y = side * rng.uniform(44, 49), -rng.uniform(8, 18)
        canvas.paint(blob(canvas, rng, x + side * 8, y - 8, 7, 19, -side * 0.1), hu["muscle"], within=inside)  # masseter
        canvas.paint(blob(canvas, rng, x - side * 12, y, 8, 16, side * 0.2), hu["muscle"], within=inside)  # pterygoid
        canvas.paint(blob(canvas, rng, x + side * 4, y + 22, 10, 11), rng.uniform(-30, 40), within=inside)  # parotid
        canvas.paint(blob(canvas, rng, side * 18, front + 12, 14, 3.5, side * 0.4), hu["muscle"], within=inside)  # lips
    _tongue(canvas, rng, hu, front, inside)
    _teeth(canvas, rng, hu, front + rng.uniform(11, 15))
    airway(canvas, rng.normal(0, 1), spine - rng.uniform(27, 32), rng.uniform(7, 14), rng.uniform(4, 9), 3, hu=50)
    vertebra(canvas, rng, 0, spine, rng.uniform(10, 12), hu, inside)
    if rng.random() < 0.4:  # the atlas round the dens
        for side in (-1, 1):
            bone(canvas, blob(canvas, rng, side * 18, spine + 2, 9, 8), hu, 1.6)
            bone(canvas, canvas.stroke([(side * 26, spine + 4), (side * 38, spine + 5)], 7), hu, 1.6)
    _sheath(canvas, rng, hu, 27, spine - 8)


def _tongue(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], front: float, inside: np.ndarray):
    y = front + 44
    canvas.paint(blob(canvas, rng, 0, y, 25, 27), hu["muscle"], within=inside)
    if rng.random() < 0.5:
        canvas.paint(blob(canvas, rng, 0, y - 3, 23, 24), AIR, within=inside)
        canvas.paint(blob(canvas, rng, 0, y + 1, 21, 23), hu["muscle"] + 5, within=inside)
    canvas.paint(canvas.stroke([(0, y - 14), (0, y + 14)], 1.6), hu["fat"] * 0.4, within=inside)
    for side in (-1, 1):
        for turn in rng.uniform(0.1, 0.9, 4):
            canvas.paint(
                canvas.stroke([(side * 4, y - 8), (side * 17, y + 26 * (turn - 0.4))], 0.9), hu["fat"] * 0.2, within=inside
            )


def _teeth(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], top: float):
    """A parabolic arch of alveolar bone with teeth in it, some missing or filled, and the rami behind."""
    wide, deep = rng.uniform(25, 29), rng.uniform(42, 50)
    turns = np.linspace(-1, 1, 15)
    curve = np.stack([wide * np.sin(turns * 1.45), top + deep * np.abs(turns) ** 2.1], 1)
    arch = canvas.stroke(curve, rng.uniform(9, 13))
    if rng.random() < 0.65:
        bone(canvas, arch, hu, 1.6)
    if rng.random() < 0.7:  # mandible behind the arch
        for side, end in ((-1, curve[0]), (1, curve[-1])):
            x = side * rng.uniform(44, 48)
            points = [end - (0, 6), (x - side * 2, end[1] + 10), (x, end[1] + rng.uniform(18, 28))]
            bone(canvas, canvas.stroke(points, (10, 8, 9)), hu, 2)
    if rng.random() < 0.85:
        enamel = rng.uniform(1500, 2000)
        missing = rng.uniform(0, 0.3)
        for i, (x, y) in enumerate(curve):
            molar = abs(i - 7) / 7
            if rng.random() < missing:
                continue
            size = 2.6 + 2.2 * molar
            tooth = blob(canvas, rng, x, y, size, size * rng.uniform(0.9, 1.2), math.atan2(y - top, x), 0.03)
            canvas.shell(tooth, 1.2, enamel, enamel * rng.uniform(0.65, 0.9))
            if rng.random() < 0.12:
                canvas.paint(canvas.ellipse(x, y, 2.2, 2.2), TOP)  # filling
            elif rng.random() < 0.5:
                canvas.paint(canvas.ellipse(x, y, 0.9, 0.9), 200)  # pulp


def neck_level(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    """Larynx or trachea with cartilage or hyoid, cervical vertebra, muscles and vessels."""
    rx, ry = rng.uniform(54, 72), rng.uniform(54, 66)
    regions = [canvas.ellipse(0, 8, rx, ry, 0, waves(rng, 0.03)), canvas.ellipse(0, -ry * 0.6, rx * 0.6, ry * 0.5)]
    inside = _soft_head(canvas, rng, hu, regions)
    _nape(canvas, rng, hu, 10, rx, ry * 0.8)
    canvas.paint(blob(canvas, rng, 0, -18, 30, 14), hu["muscle"], within=inside)
    for side in (-1, 1):
        canvas.paint(blob(canvas, rng, side * rx * 0.62, -18, 8, 17, side * 0.6), hu["muscle"], within=inside)  # sternomastoid
        canvas.paint(blob(canvas, rng, side * 26, -ry * 0.68, 11, 9), rng.uniform(30, 60), within=inside)  # submandibular gland
        canvas.paint(blob(canvas, rng, side * 24, 4, 9, 10), hu["muscle"], within=inside)
    vertebra(canvas, rng, 0, 6, rng.uniform(10, 12.5), hu, inside)
    y = -rng.uniform(30, 36)
    canvas.paint(blob(canvas, rng, 0, y - 1, 18, 15), hu["muscle"], within=inside)
    airway(canvas, rng.normal(0, 1), y, rng.uniform(5, 10), rng.uniform(6, 11), 2, hu=70)
    hard = rng.uniform(120, 800)
    plate = [(-19, y + 9), (-12, y - 8), (0, y - rng.uniform(13, 18)), (12, y - 8), (19, y + 9)]
    canvas.paint(canvas.stroke(plate, rng.uniform(2, 4.5)), hard, within=inside)
    if rng.random() < 0.35:  # lower border of the mandible
        jaw = [(-42, -22), (-30, -ry * 0.8), (0, -ry * 1.0), (30, -ry * 0.8), (42, -22)]
        bone(canvas, canvas.stroke(jaw, rng.uniform(6, 10)), hu, 2)
    _sheath(canvas, rng, hu, 27, -16)

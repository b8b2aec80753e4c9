"""Axial abdomen slices: upper organs, kidneys and bowel, pelvis."""

import math

import numpy as np

from diffzoo.imaging.phantoms.bones import blob, bone, strands, vertebra
from diffzoo.imaging.phantoms.canvas import AIR, Canvas, waves
from diffzoo.imaging.phantoms.chest import back_muscles, rib_ring, trunk


def abdomen_slice(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float]):
    """An abdomen at a random height: liver and spleen, kidneys and bowel, or pelvis."""
    fat, level = 5 + 42 * rng.beta(1.2, 2), rng.choice(["upper", "middle", "pelvis"], p=[0.45, 0.35, 0.2])
    a, b = rng.uniform(115, 145), rng.uniform(82, 108)
    inside = trunk(canvas, rng, hu, a, b, fat)
    wall = rng.uniform(6, 13)
    body = canvas.ellipse(0, 0, a, b, 0, [(4, -0.03, 0.0), *waves(rng, 0.01, (3, 5))])
    canvas.paint(body, hu["muscle"])
    window, distance = body
    cavity = (window, distance + wall)
    canvas.paint(cavity, hu["fat"])
    room = canvas.mask(cavity)
    strands(canvas, rng, 70, (-a, -b, a, b), 20, room)
    spine = b * rng.uniform(0.42, 0.52)
    if level == "pelvis":
        _pelvis(canvas, rng, hu, a, b, room, inside)
        return
    if level == "upper":
        _upper(canvas, rng, hu, a, b, room)
        rib_ring(canvas, rng, hu, a - 5, b - 5, rng.integers(4, 7))
    else:
        _kidneys(canvas, rng, hu, a, spine, room, 0.95)
        bowel(canvas, rng, hu, room, (-a * 0.8, -b * 0.8, a * 0.8, b * 0.15), rng.integers(12, 22))
    size = rng.uniform(19, 25)
    for side in (-1, 1):  # psoas and quadratus
        bulk = rng.uniform(0.5, 1) if level == "upper" else rng.uniform(0.9, 1.4)
        canvas.paint(blob(canvas, rng, side * (size + 12 * bulk), spine + 6, 13 * bulk, 17 * bulk), hu["muscle"], within=room)
        canvas.paint(blob(canvas, rng, side * (size + 36), spine + 22, 16, 9, side * -0.3), hu["muscle"])
    _vessels(canvas, rng, hu, spine - size)
    canvas.paint(canvas.ellipse(0, spine + size * 1.8, size * 3.3, size * 1.1), hu["muscle"], within=inside)
    vertebra(canvas, rng, 0, spine, size, hu, inside)
    back_muscles(canvas, rng, hu, 0, spine + size * 2.1, inside, 24)


def _vessels(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], y: float):
    aorta = rng.uniform(8.5, 12.5)
    canvas.paint(blob(canvas, rng, 9, y - aorta, aorta, aorta, 0, 0.02), hu["blood"])
    canvas.paint(blob(canvas, rng, -16, y - 11, rng.uniform(9, 14), rng.uniform(7, 11)), hu["blood"] * 0.95)
    for turn in rng.uniform(0, 2 * math.pi, rng.integers(0, 4)):  # calcified plaque of the aorta
        at = (9 + (aorta - 1) * math.cos(turn), y - aorta + (aorta - 1) * math.sin(turn))
        canvas.paint(canvas.ellipse(*at, 2, 1.2), rng.uniform(300, 900))


def _upper(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float, room: np.ndarray):
    shift = 0.25 * hu["blood"] * (hu["blood"] > 80)
    liver_hu = rng.normal(58, 7) + shift
    liver = [blob(canvas, rng, -a * 0.52, -b * 0.05, a * 0.44, b * 0.78, 0.1, 0.06)]
    liver.append(blob(canvas, rng, -a * 0.1, -b * 0.5, a * rng.uniform(0.3, 0.5), b * 0.32, 0.15, 0.08))
    for region in liver:
        canvas.paint(region, liver_hu, within=room)
    cover = canvas.mask(*liver) * room
    for _ in range(rng.integers(5, 14)):
        start, end = rng.uniform((-a * 0.85, -b * 0.6), (-a * 0.05, b * 0.4), (2, 2))
        middle = start + 0.35 * (end - start)
        width = rng.uniform(2, 6)
        canvas.paint(canvas.stroke([start, middle], (width, width * 0.5)), max(hu["blood"], 42), within=cover)
    if rng.random() < 0.3:
        at = rng.uniform((-a * 0.8, -b * 0.4), (-a * 0.3, b * 0.3))
        canvas.paint(blob(canvas, rng, *at, *rng.uniform(4, 22, 2)), rng.choice([5, 35]), within=cover)
    bowel(canvas, rng, hu, room * (1 - cover), (a * 0.05, -b * 0.75, a * 0.6, b * 0.1), rng.integers(2, 8))
    stomach = blob(canvas, rng, a * 0.38, -b * 0.32, a * 0.3, b * 0.36, 0.5, 0.08)
    gut(canvas, rng, stomach, rng.uniform(3, 6), rng.uniform(0.2, 0.7), room * (1 - cover))
    canvas.paint(blob(canvas, rng, a * 0.7, b * 0.2, a * 0.2, b * 0.4, -0.3, 0.06), liver_hu - 8, within=room)  # spleen
    pancreas = [(-a * 0.12, b * 0.02), (a * 0.1, -b * 0.06), (a * 0.4, b * 0.05)]
    canvas.paint(canvas.stroke(pancreas, rng.uniform(12, 22, 3)), rng.uniform(30, 50), within=room * (1 - cover))
    if rng.random() < 0.5:
        canvas.paint(
            blob(canvas, rng, -a * 0.35, -b * 0.2, *rng.uniform(9, 20, 2)), rng.uniform(3, 15), within=room
        )  # gall bladder
    if rng.random() < 0.7:
        _kidneys(canvas, rng, hu, a, b * 0.46, room, rng.uniform(0.6, 1))


def _kidneys(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, spine: float, room: np.ndarray, scale: float
):
    for side in (-1, 1):
        x, y, turn = side * a * rng.uniform(0.46, 0.54), spine + rng.normal(2, 5), side * rng.uniform(0.2, 0.7)
        rx, ry = scale * rng.uniform(24, 29), scale * rng.uniform(27, 34)
        canvas.paint(canvas.ellipse(x, y, rx + 10, ry + 10, turn), hu["fat"], within=room)
        canvas.paint(blob(canvas, rng, x, y, rx, ry, turn, 0.04), 34 + 0.6 * hu["blood"] * (hu["blood"] > 80), within=room)
        if scale > 0.75:
            canvas.paint(blob(canvas, rng, x - side * rx * 0.45, y - 4, rx * 0.5, ry * 0.42, turn), hu["fat"] * 0.8, within=room)
            canvas.paint(
                canvas.stroke([(x - side * rx * 0.4, y - 4), (side * 14, spine - 24)], 6), hu["blood"] * 0.9, within=room
            )
        if rng.random() < 0.2:
            canvas.paint(blob(canvas, rng, x + side * rx * 0.6, y, *rng.uniform(5, 16, 2)), 8, within=room)


def gut(canvas: Canvas, rng: np.random.Generator, region, wall: float, gas: float, within: np.ndarray):
    """A hollow organ: wall, liquid or mixed content, and gas above a level at the share `gas` of its height."""
    canvas.paint(region, rng.uniform(35, 60), within=within)
    content = rng.uniform(0, 45) if rng.random() < 0.85 else rng.uniform(150, 450)  # the latter with oral contrast agent
    canvas.paint(region, content, -wall, within)
    if gas > 0:
        (rows, columns), distance = region
        y = canvas.axis[rows]
        if len(y):
            level = (y < y[0] + gas * (y[-1] - y[0])).astype(np.float32)[:, None]
            canvas.paint(((rows, columns), np.where(level > 0, distance + wall, 9)), AIR, within=within)


def bowel(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], room: np.ndarray, box, count: int):
    """Loops of bowel in the box (x0, y0, x1, y1), some with gas, some with stool."""
    for _ in range(count):
        x, y = rng.uniform(box[:2], box[2:])
        loop = blob(canvas, rng, x, y, *rng.uniform(9, 24, 2), rng.uniform(0, 3), 0.12)
        gas = rng.choice([0, 0, 0, rng.uniform(0.3, 1.0)])
        canvas.paint(loop, hu["fat"], 1.5, room)
        gut(canvas, rng, loop, rng.uniform(1.5, 3.5), gas, room)
        if rng.random() < 0.2:  # stool with bubbles
            cover = canvas.mask(loop, grow=-3) * room
            for at in rng.normal((x, y), 6, (8, 2)):
                canvas.paint(canvas.ellipse(*at, *rng.uniform(1, 4, 2)), rng.uniform(-900, -200), within=cover)


def _pelvis(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], a: float, b: float, room: np.ndarray, inside: np.ndarray
):
    """Iliac wings and sacrum, or the hips with the bladder."""
    bowel(canvas, rng, hu, room, (-a * 0.5, -b * 0.7, a * 0.5, b * 0.1), rng.integers(5, 14))
    high = rng.random() < 0.55
    for side in (-1, 1):
        canvas.paint(
            blob(canvas, rng, side * a * 0.55, b * 0.62, a * 0.42, b * 0.3, side * -0.5), hu["muscle"], within=inside
        )  # gluteals
        canvas.paint(blob(canvas, rng, side * a * 0.52, -b * 0.12, 20, 24), hu["muscle"], within=inside)  # iliopsoas
        canvas.paint(blob(canvas, rng, side * a * 0.38, -b * 0.1, 6, 6), hu["blood"], within=inside)
        if high:
            wing = [(side * a * 0.72, -b * 0.25), (side * a * 0.6, b * 0.1), (side * 42, b * 0.48)]
            bone(canvas, canvas.stroke(wing, (12, 7, 17)), hu, 1.8)
            continue
        x, y = side * a * 0.64, b * 0.08
        canvas.paint(blob(canvas, rng, x, y, 42, 44), hu["muscle"], within=inside)
        cup = [(x - side * 10, y - 30), (x - side * 28, y), (x - side * 12, y + 30)]
        bone(canvas, canvas.stroke(cup, (12, 9, 16)), hu, 1.8)
        bone(canvas, blob(canvas, rng, x, y, 23, 23, 0, 0.02), hu, 1.4)
        if rng.random() < 0.6:
            bone(canvas, canvas.stroke([(x, y), (x + side * 32, y + 12)], (24, 28)), hu, 1.8)
    if high:
        bone(canvas, blob(canvas, rng, 0, b * 0.5, 36, 17, 0, 0.05), hu, 1.4)
        canvas.paint(canvas.ellipse(0, b * 0.58, 10, 5), -20)
        back_muscles(canvas, rng, hu, 0, b * 0.85, inside, 16)
        return
    canvas.paint(
        blob(canvas, rng, 0, -b * 0.1, rng.uniform(20, 42), rng.uniform(18, 34)), rng.uniform(0, 15), within=room
    )  # bladder
    gut(canvas, rng, blob(canvas, rng, 0, b * 0.42, 15, 14), 4, rng.choice([0, 0.5]), room)
    bone(canvas, blob(canvas, rng, 0, b * 0.75, 12, 6), hu, 1.4)  # coccyx

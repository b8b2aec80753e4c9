"""Slices of packed bags: boxes, bottles, cloth, wires and metal, as in security scanning."""

import math

import numpy as np

from diffzoo.imaging.phantoms.canvas import AIR, TOP, Canvas


def luggage_slice(canvas: Canvas, rng: np.random.Generator, reach: float):
    """A bag that fills most of the field of half width `reach` mm, with 4 to 14 things in it."""
    a, b = reach * rng.uniform(0.55, 0.85, 2)
    shell = canvas.box(0, 0, a, b, 0, rng.uniform(0.02, 0.3) * min(a, b))
    canvas.paint(shell, rng.uniform(-300, 200))
    cloth = rng.uniform(-980, -500) + rng.uniform(5, 90) * canvas.grain(rng, rng.uniform(0.02, 0.08) * reach, reach)
    canvas.paint(shell, np.clip(cloth, AIR, 0), -rng.uniform(0.006, 0.03) * reach)
    inside = canvas.mask(shell, grow=-0.02 * reach)
    things = (_box, _box, _bottle, _bottle, _wire, _metal, _device, _folds)
    for i in rng.integers(0, len(things), rng.integers(4, 15)):
        things[i](canvas, rng, rng.uniform(-0.8, 0.8, 2) * (a, b), reach, inside)


def _box(canvas, rng, at, reach, inside):
    region = canvas.box(*at, *reach * rng.uniform(0.04, 0.3, 2), rng.uniform(0, math.pi), rng.uniform(0, 0.02) * reach)
    value = rng.choice([rng.uniform(-700, -100), rng.uniform(-100, 300), rng.uniform(300, 1200)], p=[0.4, 0.45, 0.15])
    if rng.random() < 0.4:
        canvas.shell(region, reach * rng.uniform(0.008, 0.03), value, rng.uniform(-1000, 100), within=inside)
    else:
        canvas.paint(region, value, within=inside)


def _bottle(canvas, rng, at, reach, inside):
    rx = reach * rng.uniform(0.05, 0.2)
    region = canvas.ellipse(*at, rx, rx * (rng.uniform(1, 2.5) if rng.random() < 0.3 else 1), rng.uniform(0, math.pi))
    wall, full = rng.choice([rng.uniform(-50, 150), rng.uniform(900, 1800)], p=[0.75, 0.25]), rng.uniform(0.1, 1.3)
    thick = reach * rng.uniform(0.006, 0.02)
    canvas.shell(region, thick, wall, AIR, within=inside)
    (rows, columns), distance = region
    y = canvas.axis[rows]
    if len(y):
        below = (y > y[-1] - full * (y[-1] - y[0]))[:, None]
        canvas.paint(((rows, columns), np.where(below, distance + thick, 9)), rng.uniform(-180, 250), within=inside)


def _wire(canvas, rng, at, reach, inside):
    steps = np.cumsum(rng.normal(0, 0.09 * reach, (rng.integers(3, 9), 2)), 0)
    canvas.paint(canvas.stroke(at + steps, reach * rng.uniform(0.006, 0.02)), rng.uniform(800, TOP), within=inside)


def _metal(canvas, rng, at, reach, inside):
    rx, ry = reach * rng.uniform(0.008, 0.06, 2)
    shape = canvas.ellipse if rng.random() < 0.5 else canvas.box
    canvas.paint(shape(*at, rx, ry, rng.uniform(0, math.pi)), TOP, within=inside)


def _device(canvas, rng, at, reach, inside):
    """A case with a board, battery cells and parts on it."""
    rx, ry, turn = reach * rng.uniform(0.12, 0.35), reach * rng.uniform(0.04, 0.14), rng.uniform(0, math.pi)
    case = canvas.box(*at, rx, ry, turn, 0.01 * reach)
    canvas.shell(case, 0.012 * reach, rng.uniform(0, 400), rng.uniform(-1000, -500), within=inside)
    c, s = math.cos(turn), math.sin(turn)
    for u, v in rng.uniform(-0.8, 0.8, (rng.integers(3, 10), 2)) * (rx, ry):
        part = canvas.box(at[0] + c * u - s * v, at[1] + s * u + c * v, *reach * rng.uniform(0.008, 0.05, 2), turn)
        canvas.paint(part, rng.uniform(100, TOP), within=canvas.mask(case) * inside)


def _folds(canvas, rng, at, reach, inside):
    """Folded cloth: thin parallel waves."""
    turn, gap = rng.uniform(0, math.pi), reach * rng.uniform(0.015, 0.04)
    along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    for k in range(rng.integers(3, 9)):
        t = np.linspace(-0.25, 0.25, 7)[:, None] * reach
        points = at + t * along + (k * gap + gap * np.sin(t / reach * 18 + rng.uniform(0, 6))) * across
        canvas.paint(canvas.stroke(points, gap * 0.5), rng.uniform(-600, -100), within=inside)

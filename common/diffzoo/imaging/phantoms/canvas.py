"""A drawing board in mm and Hounsfield units: soft-edged shapes, random smooth fields, and the warp to the output grid."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

AIR = -1000.0
TOP = 2000.0
OVERSAMPLE = 2  # board samples per output pixel along an axis
MARGIN = 1.12  # board width over image width: room for the warp to pull shapes in

Region = tuple[tuple[slice, slice], np.ndarray]  # a window of the board and the signed distance (mm, negative inside) in it


class Canvas:
    """The board: `image` [n, n] in HU over coordinates `axis` [n] in mm (x to the right, y downwards, 0 in the middle)."""

    def __init__(self, size: int, pixel: float):
        self.step = pixel / OVERSAMPLE
        n = math.ceil(size * OVERSAMPLE * MARGIN) + 2
        self.axis = ((np.arange(n) - (n - 1) / 2) * self.step).astype(np.float32)
        self.image = np.full((n, n), AIR, np.float32)

    def _window(self, x: float, y: float, rx: float, ry: float):
        """Slices that hold the box of half sides (rx, ry) round (x, y), with its coordinates about the middle of the box."""
        low, skirt = float(self.axis[0]), 2 * self.step
        ends = [
            tuple(min(max(math.floor((e - low) / self.step) + 1, 0), len(self.axis)) for e in (m - r - skirt, m + r + skirt))
            for m, r in ((y, ry), (x, rx))
        ]
        rows, columns = (slice(*e) for e in ends)
        return (rows, columns), self.axis[columns][None, :] - np.float32(x), self.axis[rows][:, None] - np.float32(y)

    def _turned(self, x: float, y: float, rx: float, ry: float, angle: float):
        c, s = math.cos(float(angle)), math.sin(float(angle))
        window, u, v = self._window(x, y, math.hypot(rx * c, ry * s), math.hypot(rx * s, ry * c))
        return (window, u, v) if angle == 0 else (window, c * u + s * v, c * v - s * u)

    def ellipse(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, waves: Sequence = ()) -> Region:
        """Ellipse of half axes (rx, ry) turned by `angle` (rad); `waves` [(k, amplitude, phase)] modulate its radius."""
        swell = 1 + sum(abs(a) for _, a, _ in waves)
        window, u, v = self._turned(x, y, rx * swell, ry * swell, angle)
        u, v = u / np.float32(rx), v / np.float32(ry)
        square = u * u + v * v
        rho = np.sqrt(square)
        slope = np.sqrt((u * u) / np.float32(rx * rx) + (v * v) / np.float32(ry * ry)) + np.float32(1e-6)
        scale = rho / slope  # first-order distance: rho over the length of its gradient
        if waves:
            theta = np.arctan2(v, u)
            rho = rho / (1 + sum(np.float32(a) * np.cos(k * theta + np.float32(p)) for k, a, p in waves))
        return window, (rho - 1) * scale

    def box(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, corner: float = 0.0) -> Region:
        """Rectangle of half sides (rx, ry) with corners rounded to radius `corner`."""
        reach = math.hypot(rx, ry)
        window, u, v = self._turned(x, y, *((rx, ry) if angle == 0 else (reach, reach)), angle)
        u, v = np.abs(u) - np.float32(rx - corner), np.abs(v) - np.float32(ry - corner)
        return window, np.hypot(np.maximum(u, 0), np.maximum(v, 0)) + np.minimum(np.maximum(u, v), 0) - np.float32(corner)

    def stroke(self, points: Sequence, width: float | Sequence[float]) -> Region:
        """Chain of round-ended segments through `points` [(x, y)], `width` mm wide (one number, or one for each point)."""
        p = np.asarray(points, np.float64)
        r = np.broadcast_to(np.asarray(width, np.float64) / 2, len(p))
        low, high = (p - r[:, None]).min(0), (p + r[:, None]).max(0)
        (x, y), (rx, ry) = (low + high) / 2, (high - low) / 2
        window, u, v = self._window(x, y, rx, ry)
        distance = np.full(np.broadcast_shapes(u.shape, v.shape), 1e4, np.float32)
        p, r = (p - (x, y)).tolist(), r.tolist()  # Python floats keep the arrays in single precision
        for (ax, ay), (bx, by), ra, rb in zip(p[:-1], p[1:], r[:-1], r[1:], strict=True):
            dx, dy = bx - ax, by - ay
            length = max(dx * dx + dy * dy, 1e-9)
            t = np.clip((u - ax) * (dx / length) + (v - ay) * (dy / length), 0, 1)
            across, along = u - ax - t * dx, v - ay - t * dy
            distance = np.minimum(distance, np.sqrt(across * across + along * along) - (ra + t * (rb - ra)))
        return window, distance

    def cover(self, region: Region, grow: float = 0.0) -> np.ndarray:
        """Share of each sample of the region's window that the region, grown by `grow` mm, covers, 0 to 1."""
        return np.clip(np.float32(0.5 + grow / self.step) - region[1] * np.float32(1 / self.step), 0, 1)

    def mask(self, *regions: Region, grow: float = 0.0) -> np.ndarray:
        """Cover of the union of regions, on the whole board [n, n]."""
        total = np.zeros_like(self.image)
        for region in regions:
            total[region[0]] = np.maximum(total[region[0]], self.cover(region, grow))
        return total

    def paint(self, region: Region, value, grow: float = 0.0, within: np.ndarray | None = None):
        """Lay `value` (HU, a number or a board [n, n]) over the region grown by `grow` mm, only where the board `within` is 1."""
        window, alpha = region[0], self.cover(region, grow)
        if within is not None:
            alpha = alpha * within[window]
        target = self.image[window]
        target += alpha * ((value[window] if np.ndim(value) else np.float32(value)) - target)

    def blend(self, alpha: np.ndarray, value):
        """Lay `value` over the whole board with opacity `alpha` [n, n]."""
        self.image += alpha * (value - self.image)

    def shell(self, region: Region, wall: float, outside, inside, grow: float = 0.0, within: np.ndarray | None = None):
        """A region with a wall of `wall` mm: bone with its cortex, a gut with its content."""
        self.paint(region, outside, grow, within)
        self.paint(region, inside, grow - wall, within)

    def grain(self, rng: np.random.Generator, scale: float, extent: float = 160.0) -> np.ndarray:
        """Gaussian random board [n, n] of sd 1 with correlation length `scale` mm, the same at every pixel size."""
        return smooth_field(self.axis, self.axis, scale, extent, rng)


def smooth_field(y: np.ndarray, x: np.ndarray, scale: float, extent: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian random field [len(y), len(x)] of sd 1: white noise on a lattice in mm up to +-`extent`, seen through a Gaussian.

    The lattice is fixed in mm, so that a finer grid samples the same field; beyond `extent` the field repeats its border.
    """
    knots = np.arange(-extent, extent + scale, scale, dtype=np.float32)
    noise = rng.standard_normal((len(knots), len(knots)), dtype=np.float32)
    weights = []
    for axis in (y, x):
        offset = np.clip(axis, -extent, extent)[:, None].astype(np.float32) - knots
        w = np.exp(-0.5 * (offset / np.float32(scale)) ** 2)
        weights.append(w / np.sqrt((w * w).sum(1, keepdims=True)))
    return weights[0] @ noise @ weights[1].T


def waves(rng: np.random.Generator, strength: float, orders: Sequence[int] = (2, 3, 4, 5)) -> list[tuple[int, float, float]]:
    """Random radius harmonics for `Canvas.ellipse`: amplitudes fall as 1/k from about `strength`."""
    return [(k, float(rng.normal(0, strength * 2 / k)), float(rng.uniform(0, 2 * math.pi))) for k in orders]


def finish(
    canvas: Canvas,
    size: int,
    pixel: float,
    rng: np.random.Generator,
    bend: float,
    support: Callable[[Canvas], None] | None = None,
    turn: float = 8.0,
) -> np.ndarray:
    """Warp the board (turn of sd `turn` degrees, shift, deformation of sd `bend` mm), add what does not move, blur and noise.

    Returns HU float32 [size, size] in [-1000, 2000], exactly -1000 outside the object and its support.
    """
    fine = ((np.arange(size * OVERSAMPLE) - (size * OVERSAMPLE - 1) / 2) * canvas.step).astype(np.float32)
    angle, shift = math.radians(rng.normal(0, turn)), rng.normal(0, 5, 2)
    dy, dx = (bend * smooth_field(fine, fine, 55.0, 220.0, rng) for _ in range(2))
    x, y = fine[None, :] - shift[0] + dx, fine[:, None] - shift[1] + dy
    c, s = math.cos(angle), math.sin(angle)
    where = np.stack([c * y - s * x, c * x + s * y]) / np.float32(canvas.step) + np.float32((len(canvas.axis) - 1) / 2)
    warped = ndimage.map_coordinates(canvas.image, where, order=1, mode="constant", cval=AIR)
    if support is not None:
        board = Canvas(size, pixel)
        support(board)
        edge = (len(board.axis) - len(fine)) // 2
        inner = slice(edge, edge + len(fine))
        warped = np.maximum(warped, board.image[inner, inner])
    image = warped.reshape(size, OVERSAMPLE, size, OVERSAMPLE).mean((1, 3))
    blur, noise_sd, reach = rng.uniform(0.2, 0.75), rng.uniform(3, 18), rng.uniform(0.4, 0.9)
    image = ndimage.gaussian_filter(image, blur)
    inside = image > AIR + 8
    axis = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    mottle = 4 * smooth_field(axis, axis, 5.0, 230.0, rng)
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), reach)
    noise *= noise_sd * 2 * math.sqrt(math.pi) * max(reach, 0.29)  # the filter shrinks white noise by this factor
    image = np.where(inside, image + noise + mottle, AIR)
    return np.clip(image, AIR, TOP).astype(np.float32)

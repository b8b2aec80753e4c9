"""Random retinas as an OCT scanner sees them: layers, fovea, vessels with their shadows, and sometimes drusen or a cyst."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

FLOOR_DB, RANGE_DB = -15.0, 58.0  # dB that a display shows as 0, and as 255 above it; the noise floor is at 0 dB
FINE = 2  # samples a pixel along the depth before the scanner's blur
MOTION = (2.5, 1.5)  # pixels by which frames move in depth and across, standard deviation
# layers from the vitreous down: reflectivity in dB over the floor, its spread from eye to eye, thickness in pixels of 192
LAYERS = (
    ("nerve fibres", 32.0, 2.0, 9.0),
    ("ganglion cells", 24.0, 2.0, 14.0),
    ("inner nuclear", 17.0, 2.0, 8.0),
    ("outer plexiform", 25.0, 2.0, 6.0),
    ("outer nuclear", 12.0, 2.0, 16.0),
    ("limiting membrane", 20.0, 1.5, 1.5),
    ("myoid", 14.0, 1.5, 3.0),
    ("ellipsoid zone", 35.0, 1.5, 3.0),
    ("outer segments", 21.0, 2.0, 4.0),
    ("pigment epithelium", 37.0, 1.5, 4.0),
)
INNER = 5  # layers that a fovea pushes aside
CHOROID_DB, CHOROID_FALL = 29.0, 0.28  # at its top, and dB lost a pixel


@dataclass(frozen=True)
class Retina:
    """levels [X, Z, Y]: mean reflected intensity in dB over the noise floor, which is in it; layers uint8 [X, Z, Y].

    X runs across, Z into the depth, Y from frame to frame. layers: 0 vitreous, 1 to 10 the LAYERS, 11 what lies below.
    """

    levels: np.ndarray
    layers: np.ndarray


def retina(shape: tuple[int, int, int], seed: int, motion: float = 1.0) -> Retina:
    """A random retina [X, Z, Y] around the fovea; frames are shifted against each other by `motion` times what eyes do.

    About one in five has drusen, one in six a cyst. Same seed, same bytes. Raises ValueError for frames of under 32 pixels.
    """
    if min(shape[:2]) < 32 or shape[2] < 1:
        raise ValueError(f"a retina needs frames of 32 x 32 pixels or more, and one of them at least, not {shape}")
    rng = np.random.default_rng(seed)
    width, depth, frames = shape
    x, y = np.meshgrid(np.linspace(-1, 1, width), 0.02 * (np.arange(frames) - (frames - 1) / 2), indexing="ij")
    surfaces = _surfaces(x, y, depth, rng)
    z = (np.arange(FINE * depth) + 0.5) / FINE
    layers = _count(z, surfaces)
    level = _reflectivity(layers, surfaces, z, rng)
    level = _shadowed(level, layers, x, y, rng)
    level = _cyst(level, layers, surfaces, z, rng)
    return _scanned(level, layers, depth, motion, rng)


def display(decibels: np.ndarray) -> np.ndarray:
    """Intensity in dB over the noise floor as the grey value 0 to 255 of a display, clipped to what it can show."""
    return np.clip(255 * (decibels - FLOOR_DB) / RANGE_DB, 0, 255)


def _surfaces(x: np.ndarray, y: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """Depths [11, X, Y] in pixels of the tops of the layers and of what lies below them."""
    unit = depth / 192
    epithelium = depth * rng.uniform(0.55, 0.7) + unit * (rng.uniform(-12, 12) * x + rng.uniform(-6, 14) * x**2)
    waves = rng.uniform(0, 1.5) * np.sin(rng.uniform(3, 8) * x + rng.uniform(0, 6))
    epithelium = epithelium + unit * (waves + 20 * rng.uniform(-1, 1) * y)
    if rng.random() < 0.2:
        epithelium = epithelium - _bumps(x, y, unit, rng)
    centre, spread = rng.uniform(-0.5, 0.5), rng.uniform(0.18, 0.32)
    pit = rng.uniform(0.6, 0.97) * np.exp(-((x - centre) ** 2 + y**2) / (2 * spread**2))
    tops, thickness = [epithelium], []
    for k, (_, _, _, mean) in enumerate(LAYERS):
        own = unit * mean * rng.uniform(0.75, 1.3)
        own = own * (1 + rng.uniform(-0.25, 0.25) * x + 0.08 * np.sin(rng.uniform(2, 6) * x + rng.uniform(0, 6)))
        inner = 1 - pit if k < INNER - 1 else 1 + 0.3 * pit
        thickness.append(own * (inner if k < INNER else 1.0))
    for own in reversed(thickness[:-1]):
        tops.append(tops[-1] - own)
    return np.stack([*reversed(tops), epithelium + thickness[-1]])


def _bumps(x: np.ndarray, y: np.ndarray, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Drusen: what the pigment epithelium is lifted by, in pixels."""
    lift = np.zeros_like(x)
    for _ in range(rng.integers(2, 6)):
        place, size = rng.uniform(-0.8, 0.8), rng.uniform(0.04, 0.12)
        lift += unit * rng.uniform(3, 9) * np.exp(-((x - place) ** 2 + (y - rng.uniform(-0.1, 0.1)) ** 2) / (2 * size**2))
    return lift


def _count(z: np.ndarray, surfaces: np.ndarray) -> np.ndarray:
    """The number of surfaces [K, X, Y] above each depth z [Z], uint8 [X, Z, Y]."""
    layers = np.zeros((surfaces.shape[1], len(z), surfaces.shape[2]), np.uint8)
    for surface in surfaces:
        layers += z[None, :, None] >= surface[:, None, :]
    return layers


def _reflectivity(layers: np.ndarray, surfaces: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """dB [X, Z, Y] of reflected light without floor: a level a layer, a slope within it, and a fine texture."""
    values = [-40.0, *(mean + rng.normal(0, spread) for _, mean, spread, _ in LAYERS), 0.0]
    level = np.asarray(values)[layers]
    below = z[None, :, None] - surfaces[-1][:, None, :]
    vessels = _texture(layers.shape, (5.0, 5.0 * FINE, 1.5), rng)
    choroid = CHOROID_DB + rng.normal(0, 2) - CHOROID_FALL * below * (192 / (len(z) / FINE)) + 4.5 * np.tanh(1.5 * vessels)
    level = np.where(layers == len(LAYERS) + 1, choroid, level)
    return level + 1.2 * _texture(layers.shape, (4.0, 2.0 * FINE, 1.5), rng)


def _texture(shape: tuple[int, ...], widths: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth random field of standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), widths, mode="wrap")
    return field / field.std()


def _shadowed(level: np.ndarray, layers: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vessels in the inner retina, bright at their top, and what they leave dark below."""
    for _ in range(rng.integers(2, 6)):
        place, slope, width = rng.uniform(-0.95, 0.95), rng.uniform(-1, 1), rng.uniform(0.015, 0.05)
        across = np.exp(-(((x - place - slope * y) / width) ** 4))[:, None, :]
        level = level - rng.uniform(5, 11) * across * (layers > 2) + rng.uniform(0, 4) * across * ((layers == 1) | (layers == 2))
    return level


def _cyst(level: np.ndarray, layers: np.ndarray, surfaces: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sometimes a dark pool of fluid in the nuclear layers."""
    if rng.random() > 1 / 6:
        return level
    width, frames = surfaces.shape[1:]
    middle, half = rng.integers(width // 6, width - width // 6), (rng.uniform(0.03, 0.08) * width, rng.uniform(3, 6))
    place = surfaces[4, middle, frames // 2]
    distance = ((np.arange(width)[:, None] - middle) / half[0]) ** 2 + ((z[None] - place) / half[1]) ** 2
    pool = (distance < 1)[:, :, None] & (layers > 0)
    return np.where(pool, rng.uniform(-5, 2), level)


def _scanned(level: np.ndarray, layers: np.ndarray, depth: int, motion: float, rng: np.random.Generator) -> Retina:
    """What the scanner sees: light blurred by its point spread, sampled on the grid frame by frame, over its noise floor."""
    shifts = motion * rng.standard_normal((level.shape[2], 2)) * (MOTION[1], MOTION[0] * FINE)
    light, moved = np.empty_like(level), np.empty_like(layers)
    for k, shift in enumerate(shifts):
        power = ndimage.gaussian_filter(10 ** (level[:, :, k] / 10), (0.7, 0.6 * FINE), mode="nearest")
        light[:, :, k] = ndimage.shift(power, shift, order=1, mode="nearest")
        moved[:, :, k] = ndimage.shift(layers[:, :, k], shift, order=0, mode="nearest")
    light = light.reshape(level.shape[0], depth, FINE, -1).mean(2)
    return Retina((10 * np.log10(1 + light)).astype(np.float32), moved[:, FINE // 2 :: FINE])

"""Synthetic lesions in images of healthy brains, to measure how well anomalies are found where real cases are few.

A lesion is a ball deformed by smooth noise, with a soft edge, in place of the tissue there: no mass effect, nothing around it
moves. Intensities are relative to the local tissue, so an image must hold positive tissue values (air at 0), in any unit.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, gaussian_filter, label
from skimage.restoration import inpaint_biharmonic

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError

RADII = (3.0, 6.0, 10.0, 15.0)  # mm
CONTRASTS = (0.5, -0.5)  # of the local tissue's intensity: bright, dark
TEXTURES = ("flat", "rim", "noise")
DEFORMATION = 0.2  # about the standard deviation of the surface, in radii; at most twice this
DETAIL = 0.3  # the share of the relative variation of the tissue that still shows through


class Lesion(NamedTuple):
    """One case of `lesion_set`: its settings, the image with the lesion and the mask of the lesion, both [*S]."""

    radius_mm: float
    contrast: float
    texture: str
    image: np.ndarray
    mask: np.ndarray


class _Shape(NamedTuple):
    """A lesion in a box round its centre: weight in [0, 1], depth below its surface (mm), distance from the centre (mm)."""

    weight: np.ndarray
    depth: np.ndarray
    distance: np.ndarray
    reach: float  # the largest distance of non-zero weight


def insert_lesion(
    image: np.ndarray,
    brain: np.ndarray,
    radius_mm: float,
    contrast: float = 0.5,
    texture: str = "flat",
    spacing: float | Sequence[float] = 1.0,
    seed: int = 0,
    count: int = 1,
    edge_mm: float = 2.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Image [*S], 2D or 3D, with `count` lesions that lie wholly in the brain mask [*S] and do not touch; and their mask [*S].

    Each has the volume of a ball (area of a disc) of `radius_mm`, to a voxel. Its intensity is 1 + contrast of the median of the
    brain around it (0.5 bright, -0.5 dark): all through ("flat"), in a ring of 0.3 radii about a core of half the opposite
    contrast ("rim"), or mottled ("noise"). Its weight falls from 1 to 0 over `edge_mm`; the mask is where it exceeds 1/2, and
    voxels of no weight keep their bits. `spacing` in mm, one number or one an axis. The result comes from the arguments alone.
    Raises InputError for settings out of range, a brain of another shape or without room, or tissue that is not positive.
    """
    step = _check(image, brain, radius_mm, contrast, texture, spacing, count, edge_mm)
    room = _distance_to_outside(brain, step)
    return _insert(image, brain, room, radius_mm, contrast, texture, step, np.random.default_rng(seed), count, edge_mm)


def lesion_set(
    image: np.ndarray,
    brain: np.ndarray,
    spacing: float | Sequence[float] = 1.0,
    seed: int = 0,
    radii: Sequence[float] = RADII,
    contrasts: Sequence[float] = CONTRASTS,
    textures: Sequence[str] = TEXTURES,
    repeats: int = 1,
) -> Iterator[Lesion]:
    """Each radius (mm) x contrast x texture, `repeats` times, one lesion an image: 24 cases at the defaults.

    A case depends on the seed and its own settings, not on what else is in the grid. Arguments and errors as for `insert_lesion`;
    a radius for which the brain has no room raises when its turn comes.
    """
    room = None
    for radius, contrast, texture in ((r, c, t) for r in radii for c in contrasts for t in textures):
        step = _check(image, brain, radius, contrast, texture, spacing, 1, 2.0)
        room = _distance_to_outside(brain, step) if room is None else room
        for repeat in range(repeats):
            keys = (round(1000 * radius), round(1000 * contrast), TEXTURES.index(texture), repeat)
            rng = np.random.default_rng(stream(seed, *keys))
            yield Lesion(radius, contrast, texture, *_insert(image, brain, room, radius, contrast, texture, step, rng, 1, 2.0))


def filled(image: np.ndarray, lesion: np.ndarray, brain: np.ndarray, margin: int = 1) -> np.ndarray:
    """Image [*S] with its lesions (mask [*S], grown by `margin` voxels) replaced by what lies around them in the brain [*S].

    The lesion filling of multiple sclerosis studies, by the biharmonic equation in a box 6 voxels wider than each piece.
    Raises InputError for masks of another shape.
    """
    if lesion.shape != image.shape or brain.shape != image.shape:
        raise InputError(f"image {list(image.shape)}, lesion {list(lesion.shape)} and brain {list(brain.shape)} differ in shape")
    grown = binary_dilation(np.asarray(lesion, bool), iterations=margin) if margin else np.asarray(lesion, bool)
    result, hole = image.copy(), grown & np.asarray(brain, bool)
    pieces, _ = label(hole, np.ones((3,) * image.ndim))
    for number, box in enumerate(find_objects(pieces), 1):
        wide = tuple(slice(max(0, s.start - 6), s.stop + 6) for s in box)
        # each piece on its own, so that the cost stays that of a small box; outside the brain is 0 and would darken the filling
        part, tissue = pieces[wide] == number, np.asarray(brain[wide], bool)
        known = tissue & (pieces[wide] == 0)
        if not known.any():
            continue
        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        values = np.where(known, image[wide], image[wide][tuple(nearest)])
        result[wide][part] = inpaint_biharmonic(values, part)[part]
    return result


def _check(image, brain, radius_mm, contrast, texture, spacing, count, edge_mm) -> tuple[float, ...]:
    """The spacing of each axis (mm), once every argument is found in range."""
    if image.ndim not in (2, 3) or brain.shape != image.shape:
        raise InputError(f"image {list(image.shape)} and brain mask {list(brain.shape)} must be 2D or 3D and of one shape")
    step = (
        tuple(float(s) for s in np.broadcast_to(np.asarray(spacing, float), image.ndim))
        if np.size(spacing) in (1, image.ndim)
        else ()
    )
    if not (step and all(0 < s < np.inf for s in step)):
        raise InputError(f"the spacing is one positive number of mm, or one an axis of the image, not {spacing}")
    if not (0 < radius_mm < np.inf and 0 < edge_mm < np.inf):
        raise InputError(f"radius_mm and edge_mm are positive, not {radius_mm} and {edge_mm}")
    if not -1 <= contrast < np.inf or contrast == 0:
        raise InputError(f"the contrast is at least -1 (black) and not 0, not {contrast}")
    if texture not in TEXTURES:
        raise InputError(f"the texture is one of {', '.join(TEXTURES)}, not {texture}")
    if count < 1:
        raise InputError(f"at least one lesion is inserted, not {count}")
    return step


def _distance_to_outside(brain: np.ndarray, step: Sequence[float]) -> np.ndarray:
    """Distance (mm) of each voxel to the nearest one outside the brain or outside the image."""
    inside = np.pad(np.asarray(brain, bool), 1)
    return distance_transform_edt(inside, sampling=step)[(slice(1, -1),) * brain.ndim]


def _insert(image, brain, room, radius_mm, contrast, texture, step, rng, count, edge_mm) -> tuple[np.ndarray, np.ndarray]:
    """`insert_lesion` with checked arguments and the distance to outside the brain at hand."""
    result = image.copy() if np.issubdtype(image.dtype, np.floating) else image.astype(np.float32)
    mask = np.zeros(image.shape, bool)
    for number in range(count):
        shape = _shape(radius_mm, step, rng, edge_mm)
        places = np.flatnonzero(room > shape.reach)
        if not places.size:
            done = f" after {number} of {count}" if number else ""
            raise InputError(
                f"the brain mask has no room for a lesion of radius {radius_mm:g} mm{done}; take smaller or fewer ones"
            )
        centre = np.unravel_index(rng.choice(places), image.shape)
        relief = _texture(texture, shape, radius_mm, step, rng, edge_mm)
        image_box, shape_box = _boxes(centre, shape.weight.shape, image.shape)
        tissue, weight = image[image_box], shape.weight[shape_box]
        near = (shape.distance[shape_box] <= 1.5 * shape.reach) & np.asarray(brain[image_box], bool)
        level = float(np.median(tissue[near]))
        if not level > 0:
            raise InputError(
                "lesions are relative to the tissue around them, which must be positive; scale the image so that air is 0"
            )
        intensity = level * np.clip(1 + contrast * relief[shape_box], 0, None) * (1 + DETAIL * (tissue / level - 1))
        blend = result[image_box] + weight * (intensity - result[image_box])
        result[image_box] = np.where(weight > 0, blend, result[image_box])
        mask[image_box] |= weight > 0.5
        if number + 1 < count:
            room = np.minimum(room, _distance_from(centre, image.shape, step) - shape.reach)
    return result, mask


def _distance_from(centre: Sequence[int], size: Sequence[int], step: Sequence[float]) -> np.ndarray:
    axes = zip(np.ogrid[tuple(slice(n) for n in size)], centre, step, strict=True)
    return np.sqrt(sum((s * (axis - c)) ** 2 for axis, c, s in axes))


def _boxes(centre: Sequence[int], box: Sequence[int], size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of an image of `size` that a box round `centre` covers, and the same part in the box."""
    starts = [c - n // 2 for c, n in zip(centre, box, strict=True)]
    lows, highs = [max(a, 0) for a in starts], [min(a + n, s) for a, n, s in zip(starts, box, size, strict=True)]
    return (
        tuple(slice(low, high) for low, high in zip(lows, highs, strict=True)),
        tuple(slice(low - a, high - a) for low, high, a in zip(lows, highs, starts, strict=True)),
    )


def _shape(radius_mm: float, step: Sequence[float], rng: np.random.Generator, edge_mm: float) -> _Shape:
    """A ball whose surface distance - radius DEFORMATION noise = level; the level is chosen to give the ball's volume."""
    dims = len(step)
    volume = (np.pi if dims == 2 else 4 / 3 * np.pi * radius_mm) * radius_mm**2 / float(np.prod(step))
    if volume < 0.5:
        raise InputError(f"a lesion of radius {radius_mm:g} mm is smaller than a voxel; resample the image or take a larger one")
    # at most twice the deformation and half the edge beyond the radius, and room round it to take the tissue's level from
    halves = [int(np.ceil(2 * (radius_mm + edge_mm) / s)) for s in step]
    distance = _distance_from(halves, [2 * h + 1 for h in halves], step)
    noise = 2 * np.tanh(_smooth_noise(distance.shape, 0.6 * radius_mm, step, rng) / 2)
    surface = distance - DEFORMATION * radius_mm * noise
    inside = max(1, round(volume))
    level = np.partition(surface, (inside - 1, inside), axis=None)[inside - 1 : inside + 1].mean()
    depth = level - surface
    weight = np.clip(0.5 + depth / edge_mm, 0, 1)
    return _Shape(weight, depth, distance, float(distance[weight > 0].max()))


def _texture(name: str, shape: _Shape, radius_mm, step, rng: np.random.Generator, edge_mm: float) -> np.ndarray:
    """What the contrast is multiplied by in each voxel of the box."""
    if name == "rim":
        ring = 0.3 * radius_mm
        return 1 - 1.5 * np.clip(0.5 + (shape.depth - ring) / min(edge_mm, ring), 0, 1)
    if name == "noise":
        return np.clip(1 + 0.4 * _smooth_noise(shape.depth.shape, 0.25 * radius_mm, step, rng), 0, 2)
    return np.ones_like(shape.depth)


def _smooth_noise(size: Sequence[int], width_mm: float, step: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise smoothed by a Gaussian of sd width_mm, scaled to mean 0 and sd 1 over the box."""
    noise = gaussian_filter(rng.standard_normal(size), [width_mm / s for s in step], mode="wrap")
    return (noise - noise.mean()) / noise.std()

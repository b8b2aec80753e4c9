"""An approximate brain mask of a head MR (T1, T2, FLAIR), with or without its skull; no training, no template.

The brain is taken as star-shaped about its centre. Along each of many directions the intensity force of BET (Smith, Human Brain
Mapping 2002, eqs. 9-12: bright inside, a dark gap at the skull) is summed outwards; the border is the surface of the largest
sum that stays smooth from one direction to the next.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from diffzoo.errors import InputError

STEP = 2.0  # mm of the working copy
DIRECTIONS = 2000
REACH = 125  # mm, the longest radius looked at
START = 20  # mm from the centre, where looking for the border begins: ventricles and midbrain lie within
HEIGHT, NECK = 120.0, 180.0  # mm from the vertex down: the part whose centre is near that of the brain; all that may hold brain
INNER, OUTER = 15, 9  # mm inwards over which the least and the greatest intensity are taken
THRESHOLD = 0.5  # fractional intensity of BET
STIFFNESS = 0.04  # force per mm^2 between a radius and the mean of its neighbours
LESION_ML = (1.5, 30.0)  # bright pieces of this size amid tissue may be an enhancing lesion and stay
CAVITY_ML, SCALP = 60.0, 18.0  # size of the core of a dark place within the brain, and its least depth in the head in mm
VOLUME_ML = (200.0, 2400.0)  # of a plausible brain or of the part of one that a slab of slices holds
NO_BRAIN = (
    "no brain found ({}): is this a head MR with the brain in view, its slices stored with the right orientation and voxel size?"
)


def brain_mask(volume: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Brain mask, boolean [X, Y, Z], of a magnitude MR volume [X, Y, Z] whose axes grow to R, A and S; spacing in mm.

    A skull-stripped volume gives its foreground, holes filled. One with its head gives an approximate mask (Dice 0.93 on the
    Colin 27 head with CSF counted as brain), poorest at the skull base. Raises InputError where what is found cannot be a brain.
    """
    volume = np.nan_to_num(np.asarray(volume, dtype=np.float32)).clip(min=0)
    spacing = tuple(float(s) for s in spacing_mm)
    if volume.ndim != 3 or len(spacing) != 3 or not min(spacing) > 0:
        raise InputError(f"a brain mask needs a volume [X, Y, Z] and three voxel sizes, not {list(volume.shape)} and {spacing}")
    if not volume.any():
        raise InputError(NO_BRAIN.format("every voxel is 0 or less"))
    coarse = _resample(volume, spacing)
    if _stripped(coarse):
        return _check(_foreground(volume, spacing), spacing)
    mask, box = np.zeros(coarse.shape, bool), _box(coarse)
    mask[box] = _refined(*_surface(coarse[box]))
    return _check(_back(mask, volume.shape, spacing), spacing)


def is_stripped(volume: np.ndarray, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)) -> bool:
    """Whether a volume [X, Y, Z] shows a brain without skull: nothing around it, no dark gap beneath its rim."""
    volume = np.nan_to_num(np.asarray(volume, dtype=np.float32)).clip(min=0)
    return bool(volume.any()) and _stripped(_resample(volume, tuple(spacing_mm)))


def _resample(volume: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The volume on a grid of STEP mm whose first corner is that of the volume."""
    ratio = STEP / np.array(spacing)
    blur = np.sqrt(np.maximum(ratio**2 - 1, 0)) / 2.355
    shape = [max(1, round(n / r)) for n, r in zip(volume.shape, ratio, strict=True)]
    smooth = ndimage.gaussian_filter(volume, blur, truncate=3.0)
    return ndimage.affine_transform(smooth, ratio, (ratio - 1) / 2, shape, order=1, mode="nearest")


def _back(mask: np.ndarray, shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    ratio = np.array(spacing) / STEP
    return ndimage.affine_transform(mask.astype(np.float32), ratio, (ratio - 1) / 2, tuple(shape), order=1, mode="nearest") > 0.5


def _stripped(coarse: np.ndarray) -> bool:
    scaled = coarse / np.percentile(coarse[coarse > 0], 98)
    # by slice: a stack of slices is open above and below
    filled = _filled_slices(_largest(ndimage.binary_opening(scaled > 0.06)))
    around = ~ndimage.binary_dilation(filled, iterations=3)
    if not 0 < filled.sum() * STEP**3 / 1000 <= VOLUME_ML[1] or (around.any() and np.mean(scaled[around] > 0.002) > 0.01):
        return False
    depth = _depth(filled)
    rows = np.flatnonzero(filled.any((0, 1)))
    top, bottom = rows[-1] - (rows[-1] - rows[0]) // 8, max(rows[0], rows[-1] - round(80 / STEP))
    part, deep = (array[:, :, bottom : top + 1] for array in (scaled, depth))
    if not (deep > 20).any():
        return False
    dark = part < 0.35 * np.median(part[deep > 20])
    return max(float(dark[(deep > low) & (deep <= low + 2)].mean()) for low in range(4, 20, 2)) < 0.15  # no skull beneath a scalp


def _foreground(volume: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    inside = _largest(volume > 0.01 * np.percentile(volume[volume > 0], 98))
    reach = np.maximum(1, np.round(STEP / np.array(spacing))).astype(int)  # sulci that the stripping has cut are closed
    closed = ndimage.binary_closing(np.pad(inside, 4), np.ones(2 * reach + 1))[4:-4, 4:-4, 4:-4]
    return _filled_slices(closed | inside)


def _levels(coarse: np.ndarray) -> tuple[float, float, float]:
    """BET's robust range of intensities, and a tenth of it, above which the head is."""
    low, high = np.percentile(coarse[coarse > 0], [2, 98])
    return low, high, low + 0.1 * (high - low)


def _vertex(coarse: np.ndarray) -> int:
    """The highest slice with as much tissue as a head."""
    wide = (coarse > _levels(coarse)[2]).sum((0, 1)) * STEP**2 > 3000
    if not wide.any():
        raise InputError(NO_BRAIN.format("no slice shows more than 30 cm2 of tissue"))
    return int(np.flatnonzero(wide)[-1])


def _box(coarse: np.ndarray) -> tuple[slice, slice, slice]:
    """Where the head is, without its neck."""
    start = max(0, _vertex(coarse) - round(NECK / STEP))
    across, along, _ = ndimage.find_objects(_largest(coarse > _levels(coarse)[2]).astype(np.uint8))[0]
    return across, along, slice(start, None)


def _surface(coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The inside of the star-shaped surface, the volume with its cavities filled, and the median intensity of the brain."""
    low, high, least = _levels(coarse)
    head = coarse > least
    depth = _depth(_filled_slices(_largest(head)))
    head[:, :, : max(0, _vertex(coarse) - round(HEIGHT / STEP))] = False
    centre = np.array(ndimage.center_of_mass(np.where(head, coarse.clip(max=high), 0)))
    radius = (3 * head.sum() * STEP**3 / (4 * np.pi)) ** (1 / 3)
    for _ in range(3):  # the centre of the head is not that of the brain
        profiles = _profiles(coarse, centre)
        inner = profiles[:, : max(START, round(0.6 * radius))]
        inner = inner[inner > least]
        if not inner.size:
            raise InputError(NO_BRAIN.format("the middle of the image is dark"))
        middle, top = np.percentile(inner, [50, 98])
        base = centre[2] - 10 / STEP
        tissue = np.where(_cavities(coarse, 0.5 * middle, depth, base), middle, coarse)
        tissue = np.where(_fat(coarse, 1.3 * top, 0.5 * middle, base), low, tissue)
        radii = _smooth_radii(_force(_profiles(tissue, centre), low, least, middle))
        inside = _within(coarse.shape, centre, radii)
        if not inside.any():
            raise InputError(NO_BRAIN.format("the middle of the image is dark"))
        centre = np.array(ndimage.center_of_mass(inside))
        radius = (3 * inside.sum() * STEP**3 / (4 * np.pi)) ** (1 / 3)
    return inside, np.where(_cavities(coarse, 0.5 * middle, depth, base), middle, coarse), float(middle)


def _cavities(coarse: np.ndarray, level: float, depth: np.ndarray, base: float) -> np.ndarray:
    """Dark places above the skull base that are too thick and too deep for skull: ventricles, cysts, necrosis."""
    dark = coarse < level
    labels, count = ndimage.label(_ball(dark, 3, grow=False))
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * STEP**3 / 1000
    kept = sizes < CAVITY_ML
    shallow = depth < SCALP
    shallow[:, :, : max(0, round(base))] = True
    kept[np.unique(labels[shallow])] = False
    kept[0] = False
    return _ball(kept[labels], 4, grow=True) & dark


def _fat(coarse: np.ndarray, level: float, dark: float, base: float) -> np.ndarray:
    """What is brighter than any tissue of this contrast, less pieces amid tissue above the skull base: those may be lesions."""
    bright = coarse > level
    labels, count = ndimage.label(bright)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * STEP**3 / 1000
    around = np.where(bright, 0, ndimage.grey_dilation(labels, footprint=ndimage.generate_binary_structure(3, 1)))
    shaded, touching = (np.bincount(around[part], minlength=count + 1) for part in (coarse < dark, coarse >= dark))
    heights = np.bincount(labels.ravel(), np.broadcast_to(np.arange(coarse.shape[2]), coarse.shape).ravel(), count + 1)
    heights /= np.bincount(labels.ravel(), minlength=count + 1).clip(min=1)
    lesion = (sizes >= LESION_ML[0]) & (sizes <= LESION_ML[1]) & (4 * shaded < touching) & (heights > base)
    return bright & ~lesion[labels]


@lru_cache(maxsize=1)
def _directions() -> tuple[np.ndarray, cKDTree, np.ndarray]:
    """Unit vectors [N, 3] of a Fibonacci lattice on the sphere, their search tree, and the nearest 31 of each (itself first)."""
    k = np.arange(DIRECTIONS) + 0.5
    polar, turn = np.arccos(1 - 2 * k / DIRECTIONS), np.pi * (1 + 5**0.5) * k
    unit = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
    tree = cKDTree(unit)
    return unit, tree, tree.query(unit, 31)[1]


def _profiles(coarse: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Intensities [N, REACH] along each direction, a sample a mm, 0 outside the volume."""
    points = centre + _directions()[0][:, None] * np.arange(REACH)[None, :, None] / STEP
    return ndimage.map_coordinates(coarse, points.reshape(-1, 3).T, order=1, mode="constant").reshape(DIRECTIONS, REACH)


def _force(profiles: np.ndarray, low: float, least: float, middle: float) -> np.ndarray:
    """BET's force in about [-1, 1]: positive while all of the last INNER mm is bright against the brightest of the last OUTER."""
    darkest = ndimage.minimum_filter1d(profiles, INNER, axis=1, origin=INNER // 2).clip(low, middle)
    brightest = ndimage.maximum_filter1d(profiles, OUTER, axis=1, origin=OUTER // 2).clip(least, middle)
    local = (brightest - low) * THRESHOLD + low
    force = 2 * (darkest - local) / (brightest - low)
    force[:, :START] = 0
    return force


def _smooth_radii(force: np.ndarray) -> np.ndarray:
    """Radii [N] (mm) of the surface with the largest sum of force less its roughness, from the coarse to the fine."""
    near, gained = _directions()[2], np.cumsum(force, axis=1)
    radii = gained[near[:, :19]].mean(1).argmax(1).astype(float)
    radii = np.median(radii[near], axis=1)
    gained, rho = gained[near[:, :7]].mean(1), np.arange(REACH)
    for step in range(30):
        target = radii[near[:, 1 : 19 if step < 6 else 7]].mean(1)
        radii = (gained - STIFFNESS * (rho - target[:, None]) ** 2).argmax(1).astype(float)
    return radii[near[:, :7]].mean(1)


def _within(shape: Sequence[int], centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    offset = (np.indices(shape).reshape(3, -1).T - centre) * STEP
    distance = np.linalg.norm(offset, axis=1)
    near = np.flatnonzero(distance < radii.max())
    gap, nearest = _directions()[1].query(offset[near] / distance[near, None].clip(min=1e-6), 3)
    weight = 1 / (gap + 1e-3)
    inside = np.zeros(len(distance), bool)
    inside[near] = distance[near] <= (radii[nearest] * weight).sum(1) / weight.sum(1)
    return inside.reshape(shape)


def _refined(inside: np.ndarray, filled: np.ndarray, middle: float) -> np.ndarray:
    """The part of the inside that hangs together as tissue: thin bridges to orbits and neck are cut, sulci stay."""
    near = ndimage.gaussian_filter(np.where(inside, filled, 0), 15 / STEP)  # coils leave parts of the brain dim
    near /= ndimage.gaussian_filter(inside.astype(np.float32), 15 / STEP).clip(min=1e-3)
    tissue = inside & (filled > 0.5 * near.clip(0.8 * middle, middle))
    core = _largest(_ball(tissue, 3, grow=False))
    mask = ndimage.binary_dilation(core, iterations=5, mask=tissue & _ball(core, 3.5, grow=True))  # not across the skull
    mask = _ball(_ball(np.pad(mask, 8), 5, grow=True), 5, grow=False)[8:-8, 8:-8, 8:-8]
    return _filled_slices(mask & inside)


def _ball(mask: np.ndarray, radius: float, grow: bool) -> np.ndarray:
    """A mask dilated (grow) or eroded by a ball of this radius in voxels; what lies outside the volume does not erode."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask) <= radius if grow else ndimage.distance_transform_edt(mask) > radius


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else mask


def _depth(filled: np.ndarray) -> np.ndarray:
    """Distance in mm from the outside of a filled mask, slice by slice."""
    slices = [ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1] for part in np.moveaxis(filled, 2, 0)]
    return np.stack(slices, axis=2) * STEP


def _filled_slices(mask: np.ndarray) -> np.ndarray:
    return np.stack([ndimage.binary_fill_holes(part) for part in np.moveaxis(mask, 2, 0)], axis=2)


def _check(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The mask itself where its size and shape may be those of a brain."""
    volume = float(mask.sum() * np.prod(spacing) / 1000)
    if not VOLUME_ML[0] <= volume <= VOLUME_ML[1]:
        raise InputError(
            NO_BRAIN.format(f"{volume:.0f} ml of something brain-like, {VOLUME_ML[0]:g} to {VOLUME_ML[1]:g} are plausible")
        )
    spans = [np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    lengths = [(span[-1] - span[0] + 1) * size for span, size in zip(spans, spacing, strict=True)]
    if volume * 1000 < 0.4 * np.pi / 6 * np.prod(lengths):
        raise InputError(NO_BRAIN.format("what was found is not compact"))
    edges = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    if min(float(edge.mean()) for edge in edges) > 0.2:
        raise InputError(NO_BRAIN.format("the tissue reaches the border on all sides"))
    return mask

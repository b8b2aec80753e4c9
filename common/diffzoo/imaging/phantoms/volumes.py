"""Small simulated volumes to try a program on: plain sketches of anatomy, none of which looks like one of its mirror images."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_volume
from diffzoo.imaging.phantoms.nodules import Nodule, nodule
from diffzoo.names import nearest

SAMPLES = ("slab", "ct", "head", "whole_head", "head_ct", "labels", "pair", "pet", "oct", "nodule", "lung_nodule")
# CSF, grey, white matter: magnitudes of a scan by its contrast
CONTRASTS = {
    "t1": (120.0, 420.0, 600.0),
    "t1post": (140.0, 450.0, 620.0),
    "t2": (900.0, 480.0, 360.0),
    "flair": (110.0, 620.0, 520.0),
}
UPTAKE, COUNTS = (0.0, 0.1, 1.0, 0.3), 40.0  # of a tracer in nothing, fluid, grey and white matter; of grey matter, a voxel
PET = ("pet", "fullpet", "t1")  # what there is of a head with a tracer
NAMED = {"pet": "pet", "oct": "oct"}  # what the name of a sample's file tells, where that is not t1
AROUND = {"t1": (700.0, 40.0), "t2": (450.0, 40.0), "ct": (20.0, 1000.0)}  # scalp and skull of a whole head
DENSE = (6.0, 38.0, 29.0)  # HU of fluid, grey and white matter
SMALLER = 0.8  # so much smaller is the brain of a whole head
SKULL_MM, SCALP_MM, SCALP_AT = 5.0, 25.0, (10.0, 12.0, 6.0)  # outer sides, beyond the brain; how far off the scalp's middle is
BRAIN_MM = (64.0, 80.0, 58.0)  # half axes
ORGAN_MM = (15.0, 21.0, 14.0)
BARE_FIELD_MM = 33.0  # of a slice with a bare nodule, at the most
PARTS_MM = (((5.0, 9.0, 4.0), (-4.0, 6.0, 3.0)), ((6.0, 5.0, 5.0), (4.0, -9.0, -4.0)))  # half axes and middle of each part


def sample(kind: str, shape: tuple[int, int, int], affine: np.ndarray, seed: int = 0, contrast: str | None = None) -> np.ndarray:
    """Volume [X, Y, Z], float32: a "slab" of MR magnitudes in [0, 900], the same as "ct" in HU or as speckled "oct" in
    grey values, or a brain as "head".

    A "whole_head" has skull and scalp around that brain, in t1, t2 or ct (HU, air outside); "head_ct" is its CT.

    The slab fills the grid, whatever the affine; slices lie along its shortest axis. The head, without skull, is shown in a
    `contrast` of CONTRASTS (default t1) and stands in space: `affine` maps indices to mm (RAS), its middle is at the origin. So
    do its tissues as "labels" (1 fluid, 2 grey, 3 white, in which a ball of grey lies elsewhere for another seed), a "pair", an
    organ whose parts do the same, and a head with a tracer as "pet", "fullpet" (without noise) or t1. Each slice of a
    "lung_nodule" (HU) has another nodule at its middle, and of a "nodule" a bare one. Raises InputError for another kind.
    """
    if kind not in SAMPLES:
        raise InputError(f"there is no sample {kind!r}; {nearest(kind, SAMPLES)}")
    if kind == "pet":
        return _tracer(shape, np.asarray(affine, float), seed, contrast or PET[0])
    contrast = contrast or "t1"
    if kind == "head":
        return _head(shape, np.asarray(affine, float), seed, contrast)
    if kind in ("whole_head", "head_ct"):
        return _whole_head(shape, np.asarray(affine, float), seed, "ct" if kind == "head_ct" else contrast)
    if kind == "labels":
        points = _points(shape, np.asarray(affine, float))
        ball = _ellipsoid(points, (12, 12, 12), tuple(np.add((28, 22, 14), np.random.default_rng(seed).uniform(-3, 3, 3))))
        return np.where(ball, 2, _tissues(points)).astype(np.float32)
    if kind == "pair":
        return _organ(shape, np.asarray(affine, float), seed)
    if kind in ("nodule", "lung_nodule"):
        return _stacked([case.image for case in _nodules(shape, affine, seed, kind == "nodule")], shape)
    thin = int(np.argmin(shape))
    plane = [n for axis, n in enumerate(shape) if axis != thin]
    volume = np.moveaxis(slab((*plane, shape[thin]), seed), 2, thin)
    if kind == "oct":
        return _frames(volume, thin, seed)
    return (1.4 * volume - 1000).astype(np.float32) if kind == "ct" else volume


def _frames(volume: np.ndarray, thin: int, seed: int) -> np.ndarray:
    """A slab as log-compressed frames across the `thin` axis: grey values with noise, nothing but noise in their first half."""
    x, y = (axis for axis in range(3) if axis != thin)
    places = np.indices(volume.shape)
    below = places[y] > 0.45 * volume.shape[y] + 0.1 * places[x]
    return (60 + 0.18 * volume * below + np.random.default_rng(seed).normal(0, 7, volume.shape)).clip(1, 250).astype(np.float32)


def lesion(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """A ball of 12 mm in the white matter of a "head" of that shape and affine: bool [X, Y, Z]."""
    return _ellipsoid(_points(shape, affine), (12, 12, 12), (28, 22, 14))


def write_lesion(mask_path: str | Path, path: str | Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Writes a "head" [X, Y, Z] with a `lesion` brighter than tissue, and its mask beside; returns the path of the mask."""
    mask = lesion(array.shape, affine)
    write_volume(path, np.where(mask, 1.7 * array, array), affine)
    return write_volume(mask_path, mask, affine, dtype="uint8")


def parts(shape: tuple[int, int, int], affine: np.ndarray, seed: int = 0) -> np.ndarray:
    """The two parts of a "pair" as labels 1 and 2 (0 elsewhere), uint8 [X, Y, Z]."""
    points, moved = _points(shape, affine), np.random.default_rng(seed).uniform(-1.5, 1.5, (2, 3))
    labels = np.zeros(shape, np.uint8)
    for label, (axes, centre) in enumerate(PARTS_MM, 1):
        labels[_ellipsoid(points, axes, tuple(np.add(centre, moved[label - 1])))] = label
    return labels


def readers(shape: tuple[int, int, int], affine: np.ndarray, seed: int = 0, kind: str = "nodule") -> np.ndarray:
    """The masks of four readers of a "nodule" or "lung_nodule", bool [4, X, Y, Z]."""
    cases = _nodules(shape, affine, seed, kind == "nodule")
    return np.stack([_stacked([case.masks[k] for case in cases], shape) for k in range(len(cases[0].masks))])


def _nodules(shape: tuple[int, int, int], affine: np.ndarray, seed: int, bare: bool) -> list[Nodule]:
    """One for each slice along the shortest axis, all of a size that holds the slice; bare ones grow with a large field."""
    thin = int(np.argmin(shape))
    size, sizes = max(n for axis, n in enumerate(shape) if axis != thin), np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    pixel = float(np.mean(np.delete(sizes, thin)))
    pixel = min(pixel, BARE_FIELD_MM / size) if bare else pixel
    kinds = ["part_solid" if k % 2 else "solid" for k in range(shape[thin])]
    return [nodule(max(size, 16), pixel, 1000 * seed + k, kind, bare) for k, kind in enumerate(kinds)]


def _stacked(planes: list[np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """Planes, cut to the middle of a slice, as a volume [X, Y, Z] whose shortest axis goes through them."""
    thin = int(np.argmin(shape))
    height, width = (n for axis, n in enumerate(shape) if axis != thin)
    top, left = (len(planes[0]) - height) // 2, (len(planes[0]) - width) // 2
    return np.stack([plane[top : top + height, left : left + width] for plane in planes], thin)


def slab(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """MR magnitudes [X, Y, Z] in [0, 900]: a bright shell, sloping tissue, dark holes; like none of its flips."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (0.3 * z) ** 2)
    tissue = 0.5 + 0.25 * x + 0.2 * y + 0.1 * z + 0.1 * np.sin(6 * x + 1) * np.cos(5 * y)
    image = np.where(radius < 0.8, tissue, 0.0) + 0.9 * ((radius > 0.85) & (radius < 0.97))
    for centre in rng.uniform(-0.4, 0.4, (3, 2)):
        image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 0.015] = 0.2
    return (900 * np.clip(image, 0, 1)).astype(np.float32)


def _points(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """World places [3, X, Y, Z] in mm."""
    return np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)


def _organ(shape: tuple[int, int, int], affine: np.ndarray, seed: int) -> np.ndarray:
    """A shaded ellipsoid with two parts, one dark and one bright, in grey surroundings, with noise."""
    x, y, z = _points(shape, affine) / 20
    shade = 1 + 0.2 * x + 0.25 * y + 0.2 * z
    image = np.where(_ellipsoid(20 * np.stack([x, y, z]), ORGAN_MM), 420.0, 250.0) * shade
    labels = parts(shape, affine, seed)
    image = np.choose(labels, [image, np.full(shape, 90.0), np.full(shape, 800.0)])
    return (image + np.random.default_rng(seed).normal(0, 8, shape)).clip(0).astype(np.float32)


def _head(shape: tuple[int, int, int], affine: np.ndarray, seed: int, contrast: str) -> np.ndarray:
    """Ellipsoids of CSF, grey and white matter, with folds, ventricles, a coil's shading and Rician noise."""
    points = _points(shape, affine)
    labels = _tissues(points)
    image = _shaded(np.choose(labels, [0.0, *CONTRASTS[contrast]]), points, seed)
    return np.where(labels > 0, image, 0).astype(np.float32)


def _shaded(image: np.ndarray, points: np.ndarray, seed: int) -> np.ndarray:
    """Magnitudes with a coil's shading and Rician noise."""
    x, y, z = points / 80
    image = image * (1 + 0.15 * x + 0.2 * y + 0.15 * z + 0.1 * np.sin(9 * x + 1) * np.sin(9 * y) * np.cos(9 * z))
    rough = np.random.default_rng(seed).normal(0, 8, (2, *image.shape))
    return np.hypot(image + rough[0], rough[1])


def _whole_head(shape: tuple[int, int, int], affine: np.ndarray, seed: int, contrast: str) -> np.ndarray:
    """A brain like that of `_head` with a skull and a scalp whose middle lies elsewhere, so that no outline is symmetric."""
    points, axes = _points(shape, affine), [SMALLER * a for a in BRAIN_MM]
    labels = _ellipsoid(points, tuple(a + SCALP_MM for a in axes), SCALP_AT).astype(np.uint8)
    labels[_ellipsoid(points, tuple(a + SKULL_MM for a in axes))] = 2
    brain = _tissues(points / SMALLER)
    labels[brain > 0] = brain[brain > 0] + 2
    if contrast == "ct":
        noise = np.random.default_rng(seed).normal(0, 8, shape)
        return np.where(labels > 0, np.choose(labels, [0.0, *AROUND["ct"], *DENSE]) + noise, -1000).astype(np.float32)
    image = np.choose(labels, [0.0, *AROUND[contrast], *CONTRASTS[contrast]])
    return _shaded(image, points, seed).astype(np.float32)  # with its noise in the air: without any it would pass for stripped


def _tracer(shape: tuple[int, int, int], affine: np.ndarray, seed: int, contrast: str) -> np.ndarray:
    """The uptake of a brain, blurred and counted, or not counted as "fullpet"; or its T1."""
    if contrast == "t1":
        return _head(shape, affine, seed, "t1")
    points = _points(shape, affine)
    x, y, z = points / 80
    uptake = np.asarray(UPTAKE)[_tissues(points)] * (1 + 0.1 * x + 0.15 * y + 0.1 * z)
    seen = ndimage.gaussian_filter(uptake, 3.0 / np.linalg.norm(affine[:3, :3], axis=0))
    counts = np.random.default_rng(seed).poisson(COUNTS * seen) / COUNTS if contrast == "pet" else seen
    return (5000 * counts).astype(np.float32)


def _tissues(points: np.ndarray) -> np.ndarray:
    """0 around the brain, 1 fluid, 2 grey, 3 white matter, at world places [3, X, Y, Z]."""
    labels = _ellipsoid(points, BRAIN_MM).astype(np.uint8)
    for shrink, label in ((3, 2), (12, 3)):
        labels[_ellipsoid(points, tuple(a - shrink for a in BRAIN_MM))] = label
    labels[_ellipsoid(points, (7, 24, 12), (-14, 0, 8))] = 1
    labels[_ellipsoid(points, (9, 27, 14), (15, -3, 9))] = 1
    return labels


def _ellipsoid(points: np.ndarray, axes: tuple[float, ...], centre: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return sum(((points[a] - centre[a]) / axes[a]) ** 2 for a in range(3)) <= 1

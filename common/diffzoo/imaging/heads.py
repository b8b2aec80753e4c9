"""From a brain MR on disk to the axial slices that an anomaly model takes, and its maps back onto the scan: MONAI transforms.

A case is {"image": path, "case": name}, optionally with "mask" (a lesion label of the same space) or "normal": true (it has no
lesion), and "modality".
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array
from diffzoo.imaging.brain_mask import brain_mask
from diffzoo.imaging.geometry import check_spacing, orient, slice_axis, spacing
from diffzoo.imaging.head_units import to_model, to_scan, units_of
from diffzoo.imaging.io.files import case_name, read_volume

MODALITIES = ("t1", "t2", "flair")
WORDS = {
    "t1": r"t1(w|c|ce|gd|post)?|t1[-_]?weighted|mprage|mp2rage|spgr|bravo",
    "t2": r"t2w?|t2[-_]?weighted",
    "flair": r"(t2)?flair|space[-_]?flair",
}
TOP = 2.0  # brighter is cut
THICK = 1.25  # slices thicker than this times grid_mm are kept as scanned
MARGIN = 2  # voxels around the brain, in the slice plane
LEAST_SLICES, LEAST_MM = 8, 40.0


def modality_of(name: str) -> str:
    """ "t1", "t2" or "flair" as a name tells it ("sub-1_T2w", "t1post", "t2_flair"); InputError where it does not."""
    text = name.lower()
    matches = {k for k, words in WORDS.items() if re.search(rf"(?<![a-z0-9])({words})(?![a-z0-9])", text)}
    matches -= {"t2"} if "flair" in matches else set()  # a FLAIR is T2-weighted, and named so at times
    if len(matches) != 1:
        raise InputError(f"{name}: the name does not tell whether it is T1, T2 or FLAIR: set modality=t1, t2 or flair")
    return matches.pop()


def one_hot(modality: str) -> Tensor:
    """The condition [3] of a modality, in the order of MODALITIES."""
    if modality not in MODALITIES:
        raise InputError(f"modality={modality!r} is unknown: choose {', '.join(MODALITIES)}")
    return torch.eye(len(MODALITIES))[MODALITIES.index(modality)]


def slice_facts(modality: str, brain: np.ndarray, step_mm: float) -> Tensor:
    """Conditions [D, 4] of the slices of a brain mask [H, W, D] that lie step_mm apart: modality, depth / 100 mm."""
    depth = (np.flatnonzero(brain.any((0, 1)))[-1] - torch.arange(brain.shape[2])) * step_mm / 100
    return torch.cat([one_hot(modality).expand(len(depth), -1), depth[:, None].float()], 1)


class LoadHead(Transform):
    """Reads "image" and gives its brain as axial slices "image" [1, H, W, D], about [0, 1], axes growing to R, A and S.

    A scan whose axial slices are thicker than 1.25 `grid_mm` keeps them, and only their plane is resampled to `grid_mm`; any
    other goes to an isotropic grid of `grid_mm` along R, A and S of the world. The field is the brain's box, widened in the
    plane to `field` voxels, or where the brain is larger to the next multiple of 16, so a 1 mm head has under 100 slices at 2 mm.
    Intensities are brought to the model's units by median and 75th percentile of the brain (`imaging.head_units`), and cut at 2.
    Skull and all else outside the mask are 0: scans with and without skull look alike to the network.

    Adds "scan" [1, X, Y, Z] as stored, "brain" [1, H, W, D] bool, "modality", "vector" [D, 4] (what is known of each slice: its
    modality, one-hot, and its depth below the top of the brain in units of 100 mm), "slice_index" [D], "units", "notes" (one
    text), and makes "mask" a bool [1, H, W, D] on the same grid where the case has one. `modality` "auto" reads it off the name;
    a case's own "modality" goes first. An array or tensor [X, Y, Z] in place of a path has 1 mm voxels or its own affine.
    `spacing_range` (mm) is the valid range; beyond it a note is added. Raises InputError for what is not a head MR with its
    brain in view.
    """

    def __init__(
        self,
        grid_mm: float = 2.0,
        spacing_range: tuple[float, float] = (0.4, 6.0),
        modality: str = "auto",
        field: tuple[int, int] = (96, 112),
    ) -> None:
        if not grid_mm > 0:
            raise InputError(f"grid_mm={grid_mm} is not a positive voxel size in mm")
        if modality != "auto":
            one_hot(modality)
        self.grid_mm, self.spacing_range, self.modality, self.field = grid_mm, tuple(spacing_range), modality, tuple(field)

    def __call__(self, data: Mapping) -> dict:
        source = data["image"]
        named = str(source) if isinstance(source, str | Path) else "the array"
        stored = read_volume(source) if isinstance(source, str | Path) else from_array(source)
        notes = list(stored.meta.get("warnings", ())) + check_scan(stored, named)
        modality = self._modality(data, stored, named)
        lesion = np.zeros(stored.shape[1:], bool) if data.get("normal") else None
        lesion = _lesion(data["mask"], stored, named) if data.get("mask") is not None else lesion
        head = orient(stored, "RAS")
        sizes = spacing(head.affine)
        voxels = head.as_tensor()[0].numpy().clip(min=0)
        try:
            brain = brain_mask(voxels, sizes)
        except InputError as error:
            raise InputError(f"{named}: {error}") from error
        affine, shape = head_grid(brain, head.affine.numpy(), self.grid_mm, self.field)
        inside = resample(brain, head.affine.numpy(), affine, shape) > 0.5
        image = resample(voxels, head.affine.numpy(), affine, shape)
        try:
            units = units_of(image[inside], modality)
        except InputError as error:
            raise InputError(f"{named}: {error}") from error
        notes += self._remarks(stored, sizes)
        meta = {"stored_affine": stored.affine.numpy().astype(np.float64), "stored_shape": np.array(stored.shape[1:])}
        volumes = {"image": np.where(inside, to_model(image, units), 0).clip(0, TOP).astype(np.float32), "brain": inside}
        if lesion is not None:
            volumes["mask"] = resample(lesion, stored.affine.numpy(), affine, shape, nearest=True)
        volumes = {key: _on_grid(value, affine, meta) for key, value in volumes.items()}
        volumes["scan"] = stored
        volumes |= {
            "modality": modality,
            "vector": slice_facts(modality, inside, spacing(affine)[2]),
            "slice_index": torch.arange(shape[2]),
            "units": torch.tensor(units, dtype=torch.float64),
        }
        return dict(data) | volumes | {"image_path": named if named == str(source) else "array", "notes": "\n".join(notes)}

    def _modality(self, data: Mapping, stored: MetaTensor, named: str) -> str:
        chosen = str(data.get("modality") or self.modality)
        if chosen == "auto":
            series = str(stored.meta.get("series_description", "") or "")
            chosen = modality_of(f"{case_name(named)} {series}".strip())
        one_hot(chosen)
        return chosen

    def _remarks(self, stored: MetaTensor, sizes: Sequence[float]) -> list[str]:
        remarks = [check_spacing(sizes, *self.spacing_range)]
        if slice_axis(stored.affine.numpy(), stored.shape[1:]) != 2 and max(sizes) > THICK * self.grid_mm:
            remarks.append(f"the slices ({max(sizes):.3g} mm) are not axial: axial ones are interpolated, the result may be poor")
        return [remark for remark in remarks if remark]


class BackToScan(Transform):
    """Takes maps [C, H, W, D] of the model's grid onto the stored grid of the scan, with its exact affine and shape, 0 outside.

    `keys` and `intensities` are interpolated linearly, the latter in the intensities of the scan by its "units"; `masks` by the
    nearest voxel, as uint8. Absent keys are passed over. "image" must be that of `LoadHead`.
    """

    def __init__(self, keys: tuple[str, ...] = (), masks: tuple[str, ...] = (), intensities: tuple[str, ...] = ()) -> None:
        self.keys, self.masks, self.intensities = tuple(keys), tuple(masks), tuple(intensities)

    def __call__(self, data: Mapping) -> dict:
        image, out = data["image"], dict(data)
        grid, stored = (np.asarray(a, dtype=np.float64) for a in (image.affine, image.meta["stored_affine"]))
        shape = tuple(int(n) for n in image.meta["stored_shape"])
        for key in [k for k in (*self.keys, *self.masks, *self.intensities) if k in data]:
            if tuple(data[key].shape[1:]) != tuple(image.shape[1:]):
                raise ValueError(f"{key} has shape {list(data[key].shape)}, not that of the grid {list(image.shape[1:])}")
            parts = torch.as_tensor(data[key]).detach().cpu().numpy()
            parts = to_scan(parts, data["units"]) if key in self.intensities else parts
            back = np.stack([resample(part, grid, stored, shape, nearest=key in self.masks) for part in parts])
            back = back.astype(np.uint8) if key in self.masks else back.astype(np.float32)
            out[key] = MetaTensor(torch.from_numpy(back), affine=torch.from_numpy(stored))
        return out


def head_grid(
    brain: np.ndarray, affine: np.ndarray, grid_mm: float = 2.0, field: Sequence[int] = (96, 112)
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine [4, 4] and shape of the model's grid around a brain mask [X, Y, Z] of RAS order, by the rule of `LoadHead`."""
    sizes = np.array(spacing(affine))
    thick = sizes[2] > THICK * grid_mm
    grid = np.eye(4)
    if thick:
        grid[:3, :3] = affine[:3, :3] / sizes * [grid_mm, grid_mm, sizes[2]]
        grid[:3, 3] = affine[:3, 3]  # slice k of the grid is slice k of the scan
    else:
        grid[:3, :3] *= grid_mm
    relative = np.linalg.inv(grid) @ affine
    places = np.argwhere(brain) @ relative[:3, :3].T + relative[:3, 3]
    low, high = places.min(axis=0), places.max(axis=0)
    spans = np.ceil(high[:2] - low[:2]).astype(int) + 1 + 2 * MARGIN
    counts = [want if span <= want else 16 * -(-span // 16) for want, span in zip(field, spans, strict=True)]
    bottom, top = (round(low[2]), round(high[2])) if thick else (int(np.floor(low[2])), int(np.ceil(high[2])))
    first = [*((low[:2] + high[:2]) / 2 - (np.array(counts) - 1) / 2), bottom]
    grid[:3, 3] += grid[:3, :3] @ first
    return grid, (int(counts[0]), int(counts[1]), top - bottom + 1)


def resample(
    volume: np.ndarray, source: np.ndarray, target: np.ndarray, shape: Sequence[int], nearest: bool = False
) -> np.ndarray:
    """volume [X, Y, Z] on the grid of another affine [4, 4] and shape, float32 or (nearest) of its own dtype, 0 outside.

    Linear, after a blur as wide as the voxels grow; nearest takes values as they are.
    """
    matrix = np.linalg.inv(np.asarray(source, dtype=np.float64)) @ np.asarray(target, dtype=np.float64)
    matrix = matrix.round(9)  # a kept slice then is read alone
    shape = tuple(int(n) for n in shape)
    if nearest:
        return ndimage.affine_transform(volume, matrix, output_shape=shape, order=0, mode="grid-constant")
    volume = np.asarray(volume, dtype=np.float32)
    # the step along each axis of the source that one step along the nearest axis of the target makes
    growth = np.abs(matrix[:3, :3]).max(axis=1)
    blur = np.sqrt(np.maximum(growth**2 - 1, 0)) / 2.355  # full width at half maximum of the two boxes' difference
    volume = ndimage.gaussian_filter(volume, blur, truncate=3.0) if blur.any() else volume
    return ndimage.affine_transform(volume, matrix, output_shape=shape, order=1, mode="grid-constant")


def _on_grid(array: np.ndarray, affine: np.ndarray, meta: Mapping) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array))[None], affine=torch.from_numpy(affine), meta=dict(meta))


def check_scan(stored: MetaTensor, named: str) -> list[str]:
    """Refuses what cannot be a magnitude MR of a head; notes what was mended."""
    kind = stored.meta.get("modality", "MR")
    if kind != "MR":
        raise InputError(f"{named}: is {kind}, not MR")
    sizes, shape = spacing(stored.affine), stored.shape[1:]
    axis = int(np.argmax(sizes)) if max(sizes) > 1.2 * min(sizes) else 2
    if min(shape) < LEAST_SLICES or shape[axis] * sizes[axis] < LEAST_MM:
        text = f"{named}: {shape[axis]} slices of {sizes[axis]:.3g} mm are too few to find the brain in"
        raise InputError(f"{text}; at least {LEAST_SLICES} slices and {LEAST_MM:g} mm")
    values = stored.as_tensor().flatten()
    sample = values[:: max(1, len(values) // 500_000)]
    low, high = float(values.min()), float(values.max())
    if low < -0.05 * high:
        raise InputError(f"{named}: values go down to {low:g}: CT in HU and standardised images are not taken, only magnitude MR")
    if len(kinds := sample.unique()) < 32 and bool((kinds == kinds.round()).all()):
        raise InputError(f"{named}: only {len(kinds)} different values: a label map is no MR scan")
    return ["negative values were set to 0: a magnitude image has none"] if low < 0 else []


def _lesion(source, stored: MetaTensor, named: str) -> np.ndarray:
    """The lesion label of a scan, bool [X, Y, Z] on its stored grid."""
    if isinstance(source, str | Path):
        label = read_volume(source, allow_constant=True)
        if label.shape == stored.shape and not np.allclose(label.affine, stored.affine, atol=0.01 * min(spacing(stored.affine))):
            raise InputError(f"{source}: its affine is not that of {named}: resample the mask to the scan")
        array = label.as_tensor()[0].numpy()
    else:
        array = np.asarray(source)
        array = array[0] if array.ndim == 4 and len(array) == 1 else array
    if array.shape != tuple(stored.shape[1:]):
        raise InputError(f"the mask of {named} has shape {list(array.shape)}, not that of the scan {list(stored.shape[1:])}")
    return array > 0

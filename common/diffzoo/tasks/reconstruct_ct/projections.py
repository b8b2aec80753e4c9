"""From a CT volume, or a measured sinogram, to what a limited-angle reconstruction takes: MONAI dictionary transforms in order.

A case is {"image": path, "case": name}. The transforms add "sinogram", "angles", "beam", "reference", "notes" and "acquisition".
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array, with_meta
from diffzoo.imaging.geometry import check_spacing, crop_slices, parse_slices, spacing, to_slices
from diffzoo.imaging.io.files import RAW, read_volume, suffix_of
from diffzoo.imaging.io.sinogram import Sinogram, read_sinogram
from diffzoo.imaging.tomography import AIR, TOP, WATER, attenuation_of, count_photons, first_image
from diffzoo.operators.base import Scaled, spectral_norm
from diffzoo.operators.beams import FanBeam, ParallelBeam, arc, covering
from diffzoo.operators.radon import Radon

SOFT = -500.0  # HU; a CT slice that never goes below holds no air, so its values are not HU
BATCH = 16  # slices projected together
SHORT, LONG = 55.0, 125.0  # degrees of the arcs that the prior was trained on


def radon_of(shape: tuple[int, int], angles: tuple[float, ...], beam: tuple[float, ...], max_bytes: int = 2**30) -> Radon:
    """The Radon operator of slices [H, W]; max_bytes: of its stored matrices, as `Radon` has it.

    angles: radians; beam: (pixel size along each axis, detectors, detector spacing, offset, source distance, detector distance)
    in mm, with source distance 0 for parallel beams.
    """
    pixel, count, (step, offset, source, detector) = beam[:2], round(beam[2]), beam[3:7]
    parallel = ParallelBeam(angles, count, step, offset)
    return Radon(FanBeam(angles, count, step, source, detector, offset) if source else parallel, shape, pixel, max_bytes)


@lru_cache(maxsize=2)
def projector(shape: tuple[int, int], angles: tuple[float, ...], beam: tuple[float, ...]) -> tuple[Radon, Scaled]:
    """`radon_of`, and the same scaled to norm 1; built once for the slices of a scan."""
    op = radon_of(shape, angles, beam)
    op.cg_steps, op.cg_tol = 10, 0.0  # a fixed number of steps: a slice then does not depend on its batch
    return op, Scaled(op, 1 / spectral_norm(op, (1, *shape)))


def projector_of(data: Mapping, shape: Sequence[int]) -> tuple[Radon, Scaled]:
    """The `projector` of a case that holds "angles" [views] and "beam" [7], for slices of this shape [H, W]."""
    return projector(tuple(shape), tuple(data["angles"].tolist()), tuple(data["beam"].tolist()))


def projected(angles: Sequence[float], beam: Sequence[float], x: Tensor) -> Tensor:
    """Line integrals [D, 1, views, detectors] of slices x [D, 1, H, W] whose pixels are squares; parallel beams.

    Pixels and bins are half as wide as those of `beam`, whose own bins are the means of two. In float64, so that a slice comes
    out alike in any batch.
    """
    pixel, count, step = [side / 2 for side in beam[:2]], 2 * beam[2], beam[3] / 2
    fine = x.double().repeat_interleave(2, -2).repeat_interleave(2, -1)
    op = radon_of(tuple(fine.shape[-2:]), tuple(angles), (*pixel, count, step, *beam[4:]), max_bytes=0).double()
    return torch.cat([op.A(part) for part in fine.split(BATCH)]).unflatten(-1, (-1, 2)).mean(-1).float()


class LoadTomogram(Transform):
    """Reads "image": a CT volume in HU as [1, H, W, D], slices last, clipped to the window; or a measured sinogram.

    A sinogram gives "sinogram" [1, views, detectors, D] (attenuation relative to water x mm), "angles" [views], "beam" [7] and
    an empty "image" whose affine is turned so that the arc starts at angle 0, as the prior has learnt it. An array or tensor in
    place of a path ([H, W] or [H, W, D], HU) has 1 mm voxels. `spacing_range` (mm, in the slice plane) is the valid range; beyond
    it a note is added. A case's own "slices" ("60:70") are all that is taken of its volume. `arc` (degrees) is that of a sinogram
    file without angles. Raises InputError for what is not CT in HU.
    """

    def __init__(self, spacing_range: tuple[float, float] = (0.0, float("inf")), arc: float | None = None) -> None:
        self.spacing_range, self.arc = tuple(spacing_range), arc

    def __call__(self, data: Mapping) -> dict:
        source = data["image"]
        named = str(source) if isinstance(source, str | Path) else "array"
        out = dict(data) | {"image_path": named}
        if isinstance(source, str | Path) and suffix_of(source) in RAW:
            volumes, notes = _measured(source, self.arc)
        else:
            volumes, notes = _volume(source, data.get("slices", "all"))
        warning = check_spacing(spacing(volumes["image"].affine)[:2], *self.spacing_range)
        return out | volumes | {"notes": "\n".join(notes + ([warning] if warning else []))}


def _volume(source, block: str) -> tuple[dict, list[str]]:
    volume = read_volume(source) if isinstance(source, str | Path) else from_array(source)
    named, notes = source if isinstance(source, str | Path) else "the array", list(volume.meta.get("warnings", ()))
    modality = volume.meta.get("modality", "CT")
    low, high = float(volume.min()), float(volume.max())
    if modality != "CT":
        raise InputError(f"{named}: is {modality}, not CT")
    if low > SOFT:
        raise InputError(f"{named}: its least value is {low:g}, so it is not CT in Hounsfield units (air is -1000)")
    image = to_slices(volume)
    peak = float(image.max().clamp(AIR, TOP))
    image = crop_slices(image, *parse_slices(block, image.shape[-1]))
    if min(image.shape[1:3]) < 16:
        size = f"{image.shape[1]} x {image.shape[2]}"
        raise InputError(f"{named}: slices of {size} pixels are too small to project; at least 16 x 16")
    if high > TOP:
        notes.append(f"values above {TOP:g} HU (up to {high:.0f}) were set to {TOP:g}, the top of the window")
    return {"image": with_meta(image.as_tensor().clamp(AIR, TOP), image.affine, volume.affine), "peak": peak}, notes


def _measured(source: str | Path, degrees: float | None) -> tuple[dict, list[str]]:
    raw, start = _from_zero(read_sinogram(source, degrees))
    shrink = 1.0 if raw.source_distance is None else raw.source_distance / (raw.source_distance + raw.detector_distance)
    pixel, count = raw.detector_spacing * shrink, raw.values.shape[2]
    affine = _turned(pixel, count, start) @ np.diag([1, 1, raw.slice_spacing, 1.0])
    beam = (pixel, pixel, count, raw.detector_spacing, raw.offset, raw.source_distance or 0.0, raw.detector_distance or 0.0)
    volumes = {
        "image": with_meta(torch.zeros(1, count, count, len(raw.values)), affine, affine),
        "sinogram": raw.values.movedim(0, -1)[None] / WATER,
        "angles": torch.tensor(raw.angles, dtype=torch.float64),
        "beam": torch.tensor(beam, dtype=torch.float64),
    }
    return volumes, list(raw.notes)


def _from_zero(raw: Sinogram) -> tuple[Sinogram, float]:
    """The sinogram in order of angle, turned so that it starts at 0, and the angle by which it was turned."""
    order = sorted(range(len(raw.angles)), key=raw.angles.__getitem__)
    start = raw.angles[order[0]]
    return replace(raw, angles=tuple(raw.angles[k] - start for k in order), values=raw.values[:, order]), start


def _turned(pixel: float, count: int, start: float) -> np.ndarray:
    """Affine of a centred square image that is turned by `start` about the slice axis."""
    cos, sin, middle = math.cos(start) * pixel, math.sin(start) * pixel, (count - 1) / 2
    affine = np.eye(4)
    affine[:2, :2] = [[cos, -sin], [sin, cos]]
    affine[:2, 3] = -affine[:2, :2] @ (middle, middle)
    return affine


class Project(Transform):
    """Simulates the scan of a CT volume: "sinogram" [1, views, detectors, D] of parallel beams over `arc` degrees from angle 0.

    The detector covers the slice's diagonal in bins of its finer pixel size. The data are not computed on the pixels and rays on
    which they are inverted: a pixel is four finer ones, a bin the mean of two rays beside its centre (no inverse crime).
    `dose` photons a ray give Poisson noise, from the seed and the slice's number; null gives none. "reference" keeps the volume.
    A measured case passes through.
    Raises InputError for an arc outside (0, 180] degrees, fewer than 8 views or a dose that is not positive.
    """

    def __init__(self, arc: float, views_per_degree: float = 1.0, dose: float | None = None, seed: int = 0) -> None:
        self.arc, self.views_per_degree, self.dose, self.seed = arc, views_per_degree, dose, seed

    def __call__(self, data: Mapping) -> dict:
        if "sinogram" in data:
            note = "measured sinogram: arc, views_per_degree and dose come from the file"
            notes = "\n".join(filter(None, [data["notes"], note, *self._unlearnt(_degrees(data["angles"]))]))
            return dict(data) | {"notes": notes, "acquisition": _acquisition(data["angles"], "measured", None)}
        views = round(self.arc * self.views_per_degree)
        if not 0 < self.arc <= 180 or views < 8:
            raise InputError(f"arc={self.arc:g} with {views} views: choose at most 180 degrees and at least 8 views")
        if self.dose is not None and not self.dose > 0:
            raise InputError(f"dose={self.dose:g} is not a positive number of photons a ray; null gives data without noise")
        image = data["image"]
        pixel = tuple(spacing(image.affine)[:2])
        count, step = covering(image.shape[1:3], pixel)
        angles, beam = torch.tensor(arc(self.arc, views), dtype=torch.float64), (*pixel, count, step, 0.0, 0.0, 0.0)
        geometry = {"angles": angles, "beam": torch.tensor(beam, dtype=torch.float64)}
        slices = attenuation_of(image.as_tensor()).movedim(-1, 0)
        y = projected(geometry["angles"].tolist(), geometry["beam"].tolist(), slices)
        if self.dose is not None:
            seeds = [stream(self.seed, int(k)) for k in data["slice_index"]]
            y = count_photons(y, self.dose, [torch.Generator().manual_seed(s) for s in seeds])
        notes = "\n".join(filter(None, [data["notes"], *self._unlearnt(self.arc)]))
        scan = geometry | {"sinogram": y.movedim(0, -1), "notes": notes}
        return dict(data) | scan | {"reference": image, "acquisition": _acquisition(angles, "simulated", self.dose)}

    @staticmethod
    def _unlearnt(degrees: float) -> list[str]:
        if SHORT <= degrees <= LONG:
            return []
        return [f"an arc of {degrees:.0f} degrees is outside the training range, {SHORT:g} to {LONG:g}: the result may be poor"]


def _degrees(angles: Tensor) -> float:
    """The arc that evenly spaced angles (radians) cover, each standing for its share."""
    return math.degrees(float(angles[-1] - angles[0])) * len(angles) / (len(angles) - 1)


def _acquisition(angles: Tensor, kind: str, dose: float | None) -> str:
    degrees = round(_degrees(angles), 2)
    noise = "measured" if kind == "measured" else "no noise" if dose is None else f"{dose:.3g} photons a ray"
    words = f"{degrees:g} degrees, {len(angles)} views, {noise}"
    return json.dumps({"words": words, "projections": kind, "arc": degrees, "views": len(angles), "dose": dose})


class FirstImage(Transform):
    """Makes "image" [1, H, W, D] the first image of "sinogram", in attenuation relative to water (`tomography.first_image`)."""

    def __init__(self, steps: int = 30, weight: float = 0.01) -> None:
        self.steps, self.weight = steps, weight

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        op, _ = projector_of(data, image.shape[1:3])
        first = torch.cat([self._first(op, y) for y in data["sinogram"].movedim(-1, 0).split(8)])  # a few slices at a time
        return dict(data) | {"image": with_meta(first.movedim(0, -1), image.affine, image.meta["stored_affine"])}

    def _first(self, op: Radon, y: Tensor) -> Tensor:
        return first_image(op, y, steps=self.steps, weight=self.weight)

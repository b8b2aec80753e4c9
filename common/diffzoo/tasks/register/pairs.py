"""From a moving and a fixed image on disk to a pair on the model's grid, and the field back onto the fixed image: transforms.

A case is {"image": fixed, "moving": moving, "case": name}, with "label" and "moving_label" where there are labels of the same
spaces; or {"image": 4D NIfTI} alone, two of whose phases are the pair, with a 4D "label".
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.fields import regrid, warp_onto
from diffzoo.imaging.geometry import check_spacing, orient, spacing, to_slices
from diffzoo.imaging.io.files import case_name
from diffzoo.imaging.io.frames import frames_of, read_frame, read_label
from diffzoo.imaging.registration import Align

LARGER = 1.1  # times the model's field: a fixed image beyond it is told of
FAR = 3.0  # times it: refused, as a whole head by a model of one small organ


def pair_cases(cases: Sequence[Mapping]) -> list[dict]:
    """Cases of pairs from a list of images: moving, fixed, moving, fixed ...; pairs and 4D files of the list stay as they are.

    Raises InputError where an image is left over.
    """
    pairs, waiting = [], None
    for case in cases:
        if case.get("moving") is not None or len(frames_of(case["image"])) == 4:
            pairs.append(dict(case))
        elif waiting is None:
            waiting = case
        else:
            pairs.append(_pair(waiting, case))
            waiting = None
    if waiting is not None:
        raise InputError(f"{waiting['image']}: has no partner: give the moving image, then the fixed one, or a 4D NIfTI of both")
    return pairs


def all_pairs(cases: Sequence[Mapping], pairs: int = 0, seed: int = 0) -> list[dict]:
    """Pairs to evaluate: every ordered two of the single images, or `pairs` of them drawn by `seed`; pairs and 4D files stay.

    A pair is named `<moving>_to_<fixed>` and has "subject" and "moving_subject": of the fixed and the moving image (their own
    names where the list gives none).
    """
    complete = [case for case in cases if case.get("moving") is not None or len(frames_of(case["image"])) == 4]
    single = [case for case in cases if case not in complete]
    ordered = [(m, f) for m in range(len(single)) for f in range(len(single)) if m != f]
    if 0 < pairs < len(ordered):
        kept = np.sort(np.random.default_rng(seed).choice(len(ordered), pairs, replace=False))
        ordered = [ordered[k] for k in kept]
    return [{"subject": case["case"], **case} for case in complete] + [_pair(single[m], single[f]) for m, f in ordered]


def _pair(moving: Mapping, fixed: Mapping) -> dict:
    names = {"subject": fixed.get("subject", fixed["case"]), "moving_subject": moving.get("subject", moving["case"])}
    pair = {**fixed, **names, "moving": moving["image"], "case": f"{moving['case']}_to_{fixed['case']}"}
    return pair | ({"moving_label": moving["label"]} if "label" in moving else {})


def unit_levels(image: MetaTensor) -> tuple[float, float]:
    """The values of an image that become 0 and 1: its 0.5 and 99.5 percentiles, or its extremes where those are one."""
    values = image.as_tensor().flatten().numpy()
    values = values[:: max(1, len(values) // 1_000_000)]
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    return (low, high) if high > low else (float(image.min()), float(image.max()))


def model_grid(image: MetaTensor, grid_mm: float | Sequence[float] | None, size: Sequence[int] | None) -> MetaTensor:
    """An empty volume [1, X, Y, Z] on the model's grid: that of `image` with voxels of `grid_mm` (none: its own), `size` of them.

    Both grids have one middle; where no voxel changes its size they also share their voxel centres. Without a size the grid
    covers the image.
    """
    own, shape = np.array(spacing(image.affine)), np.array(image.shape[1:])
    sizes = np.broadcast_to(own if grid_mm is None else np.asarray(grid_mm, dtype=np.float64), 3)
    sizes = np.where(shape == 1, own, sizes)
    ratio = sizes / own
    count = np.maximum(1, np.rint(shape / ratio)).astype(int) if size is None else np.array([*size, *[1] * (3 - len(size))])
    first = (shape - 1) / 2 - ratio * (count - 1) / 2
    first = np.where(np.isclose(ratio, 1), np.floor(first), first)
    affine = np.asarray(image.affine, dtype=np.float64) @ np.block([[np.diag(ratio), first[:, None]], [np.zeros(3), 1]])
    return MetaTensor(torch.zeros(1, *count.tolist()), affine=torch.from_numpy(affine))


def on_grid(image: MetaTensor, matrix: np.ndarray, shape: Sequence[int], nearest: bool = False) -> Tensor:
    """image [1, X, Y, Z] at the voxels of a grid whose indices `matrix` [4, 4] takes to those of the image: [1, *shape].

    Linear after a blur as wide as the voxels grow, its edge going on beyond it; or the nearest value (labels), 0 beyond it.
    """
    matrix, array = np.asarray(matrix).round(9), image.as_tensor()[0].numpy()
    if nearest:
        values = ndimage.affine_transform(array, matrix, output_shape=tuple(shape), order=0, mode="grid-constant")
    else:
        growth = np.abs(matrix[:3, :3]).max(axis=1)
        blur = np.sqrt(np.maximum(growth**2 - 1, 0)) / 2.355  # full width at half maximum of the two boxes' difference
        array = ndimage.gaussian_filter(array, blur, truncate=3.0) if blur.any() else array
        values = ndimage.affine_transform(array, matrix, output_shape=tuple(shape), order=1, mode="nearest")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None]


class LoadPair(Transform):
    """Reads the pair of a case and brings both to the model's grid: "image" (fixed) and "moving" [1, *S] in [0, 1].

    The fixed image, its axes turned to grow to R, A and S, gives the grid: voxels of `grid_mm` (mm, one number or one an axis;
    none keeps its own) and `size` of them about its middle (none: all of it). A `size` of two numbers takes single slices, in
    their plane, and gives 2D images. `align` (`imaging.registration`) moves the moving image as a whole first. Intensities go
    from 0.5 and 99.5 percentile to 0 and 1. `phases` are moving and fixed of a 4D file; `moving_label` and `fixed_label` are
    label files for a case that names none. A fixed image more than 3 times as long as the field is refused, unless `middle_only`.

    Adds "label" and "moving_label" [1, *S] on the grid where known, "alignment" [4, 4] (fixed world -> moving world), the volumes
    as stored under "fixed_scan", "moving_scan", "fixed_label_scan" and "moving_label_scan", "levels" [2] (of the moving image's
    intensities), "image_path", "notes" and "acquisition". Raises InputError for what is no such pair.
    """

    def __init__(
        self,
        grid_mm: float | Sequence[float] | None = 1.0,
        size: Sequence[int] | None = None,
        align: Align | None = None,
        phases: tuple[int, int] = (0, 1),
        moving_label: str | None = None,
        fixed_label: str | None = None,
        spacing_range: tuple[float, float] = (0.0, float("inf")),
        middle_only: bool = False,
    ) -> None:
        if grid_mm is not None and not (np.asarray(grid_mm, dtype=np.float64) > 0).all():
            raise InputError(f"grid_mm={grid_mm} is not a positive voxel size in mm")
        if size is not None and (len(size) not in (2, 3) or min(size) < 8):
            raise InputError(f"size={size} is no grid of 2 or 3 axes of at least 8 voxels")
        self.grid_mm, self.size, self.align, self.phases = grid_mm, size, align, tuple(phases)
        self.labels = {"moving": moving_label, "fixed": fixed_label}
        self.spacing_range, self.middle_only = tuple(spacing_range), middle_only

    def __call__(self, data: Mapping) -> dict:
        sources = {"fixed": data["image"], "moving": data.get("moving")}
        if sources["moving"] is None:
            if not frames_of(data["image"]):
                raise InputError(f"{_named(data['image'])}: the moving image is missing: give two images, or a 4D NIfTI of both")
            sources["moving"] = data["image"]
        numbers = dict(zip(("moving", "fixed"), self.phases, strict=True))
        scans = {key: read_frame(source, numbers[key]) for key, source in sources.items()}
        flat = self.size is not None and len(self.size) == 2
        if flat and any(1 not in scan.shape[1:] for scan in scans.values()):
            raise InputError(f"{_named(data['image'])}: a 2D model takes single slices, not volumes")
        fixed, moving = (to_slices(scans[k]) if flat else orient(scans[k], "RAS") for k in ("fixed", "moving"))
        grid = model_grid(fixed, self.grid_mm, self.size)
        self._check_field(fixed, grid, _named(data["image"]))
        started = time.perf_counter()
        alignment = np.eye(4) if self.align is None else self.align(fixed, moving)
        seconds = time.perf_counter() - started
        labels = self._labels(data, scans, numbers)
        out = dict(data) | {f"{key}_scan": scan for key, scan in scans.items()}
        out |= {f"{key}_label_scan": label for key, label in labels.items()}
        out |= self._gridded(scans, labels, grid, alignment, flat)
        out["alignment"], out["levels"] = torch.from_numpy(alignment), torch.tensor(unit_levels(scans["moving"]))
        words = f"{_named(sources['moving'])} onto {_named(sources['fixed'])}"
        out["acquisition"] = json.dumps({"words": words, "alignment_seconds": round(seconds, 3)})
        out["image_path"] = str(data["image"]) if isinstance(data["image"], str | Path) else "array"
        return out | {"notes": "\n".join(self._notes(scans, fixed, grid))}

    def _check_field(self, fixed: MetaTensor, grid: MetaTensor, named: str) -> None:
        """InputError for a fixed image that is far larger than the field of the model, where its middle was not asked for."""
        image, field = (np.array(x.shape[1:]) * spacing(x.affine) for x in (fixed, grid))
        if (image > FAR * field).any() and not self.middle_only:
            sizes = [" x ".join(f"{mm:.0f}" for mm in span) for span in (image, field)]
            raise InputError(
                f"{named}: {sizes[0]} mm are far more than the model's field of {sizes[1]} mm: "
                "crop both images around the organ, or set middle_only=true to register the middle alone"
            )

    def _labels(self, data: Mapping, scans: Mapping, numbers: Mapping) -> dict[str, MetaTensor]:
        given = {key: data.get("label" if key == "fixed" else "moving_label") for key in scans}
        given = {key: self.labels[key] if source is None else source for key, source in given.items()}
        if data.get("moving") is None and given["moving"] is None:
            given["moving"] = given["fixed"]  # both phases of one 4D label
        known = {key: source for key, source in given.items() if source is not None}
        return {key: read_label(source, numbers[key], scans[key], f"the {key} image") for key, source in known.items()}

    def _gridded(self, scans: Mapping, labels: Mapping, grid: MetaTensor, alignment: np.ndarray, flat: bool) -> dict:
        shape, volumes = grid.shape[1:], {}
        for key, scan in scans.items():
            world = grid.affine.numpy() if key == "fixed" else alignment @ grid.affine.numpy()
            matrix = np.linalg.inv(scan.affine.numpy().astype(np.float64)) @ world
            low, high = unit_levels(scan)
            image = ((on_grid(scan, matrix, shape) - low) / (high - low)).clamp(0, 1)
            volumes["image" if key == "fixed" else "moving"] = image
            if key in labels:
                volumes["label" if key == "fixed" else "moving_label"] = on_grid(labels[key], matrix, shape, nearest=True)
        volumes = {key: x[..., 0] if flat else x for key, x in volumes.items()}
        return {key: MetaTensor(x, affine=grid.affine) for key, x in volumes.items()}

    def _notes(self, scans: Mapping, fixed: MetaTensor, grid: MetaTensor) -> list[str]:
        notes = [f"{key} image: {text}" for key, scan in scans.items() for text in scan.meta.get("warnings", ())]
        for key, scan in scans.items():
            sizes = [s for s, n in zip(spacing(scan.affine), scan.shape[1:], strict=True) if n > 1]
            if warning := check_spacing(sizes, *self.spacing_range):
                notes.append(f"{key} image: {warning}")
        spans = [np.array(x.shape[1:]) * spacing(x.affine) for x in (fixed, grid)]
        if (spans[0] > LARGER * spans[1]).any():
            text = " x ".join(f"{mm:.0f}" for mm in spans[1])
            notes.append(f"the fixed image is larger than the model's field of {text} mm: beyond it the field is only continued")
        return notes


def _named(source) -> str:
    return case_name(source) if isinstance(source, str | Path) else "the array"


def field_on_fixed(data: Mapping, field: Tensor) -> Tensor:
    """A field [d, *S] on the model's grid of a pair as one [1, 3, X, Y, Z] on the fixed image's own, the alignment included."""
    image, fixed = data["image"], data["fixed_scan"]
    if tuple(field.shape[1:]) != tuple(image.shape[1:]) or len(field) != image.ndim - 1:
        raise ValueError(f"a field of shape {list(field.shape)} is not one on the grid {list(image.shape[1:])}")
    grid, affine, start = (np.asarray(a, dtype=np.float64) for a in (image.affine, fixed.affine, data["alignment"]))
    return regrid(_batch(field), grid, affine, fixed.shape[1:], start)


class FieldToFixed(Transform):
    """Takes the "field" [d, *S] of a pair from the model's grid to the fixed image's own, and moves the moving image by it.

    "field" becomes [3, X, Y, Z] in voxels of the fixed image as stored, the alignment included (`imaging.fields.write_field`
    writes it); "warped" [1, X, Y, Z] is the moving image there, in its own intensities, its lowest value where it does not reach;
    "label_warped" uint8 its label, where known. "path" [n d, *S], n fields along the way, becomes [n, X, Y, Z] warped images;
    "generated" [1, *S] goes to the grid and the intensities alike. The item is otherwise that of `LoadPair`.
    """

    def __call__(self, data: Mapping) -> dict:
        fixed, out = data["fixed_scan"], dict(data)
        field, affine = field_on_fixed(data, data["field"]), fixed.affine.numpy().astype(np.float64)
        out["field"] = MetaTensor(field[0], affine=fixed.affine)
        out["warped"] = MetaTensor(self._moved(data, field), affine=fixed.affine)
        if "moving_label_scan" in data:
            label = data["moving_label_scan"]
            moved = warp_onto(_batch(label), label.affine.numpy(), field, affine, nearest=True)[0]
            out["label_warped"] = MetaTensor(moved.to(torch.uint8), affine=fixed.affine)
        if "path" in data:
            path = torch.as_tensor(data["path"]).split(len(data["field"]))
            frames = [self._moved(data, field_on_fixed(data, step)) for step in path]
            out["path"] = MetaTensor(torch.cat(frames), affine=fixed.affine)
        if "generated" in data:
            low, high = (float(v) for v in data["levels"])
            out["generated"] = MetaTensor(low + (high - low) * self._image(data, data["generated"]), affine=fixed.affine)
        return out

    def _moved(self, data: Mapping, field: Tensor) -> Tensor:
        moving, fixed = data["moving_scan"], data["fixed_scan"]
        return warp_onto(_batch(moving), moving.affine.numpy(), field, fixed.affine.numpy(), fill=float(moving.min()))[0]

    def _image(self, data: Mapping, image: Tensor) -> Tensor:
        """An image [1, *S] of the grid on that of the fixed image, 0 beyond the grid."""
        fixed, flat = data["fixed_scan"], torch.as_tensor(image).ndim == 3
        volume = _batch(image)[..., None] if flat else _batch(image)
        still = torch.zeros(1, 3, *fixed.shape[1:])
        return warp_onto(volume, np.asarray(data["image"].affine), still, np.asarray(fixed.affine))[0]


def _batch(x: Tensor) -> Tensor:
    """A plain float tensor [1, C, *S] on the CPU."""
    return (x.as_tensor() if hasattr(x, "as_tensor") else torch.as_tensor(x)).detach().cpu().float()[None]

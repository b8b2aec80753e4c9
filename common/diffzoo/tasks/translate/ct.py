"""From a cone-beam CT, or a CT that one is simulated from, to the slices that a translation takes: a MONAI transform."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array
from diffzoo.imaging.body_mask import body_mask
from diffzoo.imaging.edges import TOP, to_hu, to_units
from diffzoo.imaging.geometry import check_spacing, crop_slices, orient, parse_slices, restore, slice_axis, spacing
from diffzoo.imaging.heads import resample
from diffzoo.imaging.io.files import read_volume

Simulate = Callable[[Tensor, Sequence[float], Sequence[int]], Tensor]  # as `imaging.cone_beam.ConeBeam`

SOFT = -500.0  # HU; a CT that never goes below holds no air, so its values are not HU
DENSE = 0.0  # HU; one that never goes above holds no tissue
MARGIN = 8  # pixels around the body
FIELD = 16  # of which the sides of the field are multiples
LEAST = 16  # pixels of a side of a slice
LEAST_OVERLAP = 0.8  # of the body, that the CT of an evaluation has to cover
SOURCE, TARGET = "cbct", "ct"


def read_ct(source, what: str = "CT") -> tuple[MetaTensor, list[str]]:
    """A CT in HU as stored [1, X, Y, Z] from a path or an array with 1 mm voxels, and what is to be told of it.

    Raises InputError for another modality, for values that are not Hounsfield units, and for slices that are not axial.
    """
    volume = read_volume(source) if isinstance(source, str | Path) else from_array(source)
    named = source if isinstance(source, str | Path) else "the array"
    kind, low, high = volume.meta.get("modality", "CT"), float(volume.min()), float(volume.max())
    if kind != "CT":
        raise InputError(f"{named}: is {kind}, not {what}")
    if low > SOFT or high < DENSE:
        text = f"{named}: its values go from {low:g} to {high:g}, so it is not {what} in Hounsfield units (air -1000, water 0)"
        raise InputError(f"{text}: convert them by the scanner's slope and intercept")
    if slice_axis(volume.affine.numpy(), volume.shape[1:]) != 2:
        raise InputError(f"{named}: its slices are not axial: reformat the {what} to axial ones")
    oriented = orient(volume, "RAS")
    if min(oriented.shape[1:3]) < LEAST:
        raise InputError(f"{named}: slices of {oriented.shape[1]} x {oriented.shape[2]} pixels are too small; at least {LEAST}")
    return volume, list(volume.meta.get("warnings", ()))


def plane_grid(
    affine: np.ndarray, shape: Sequence[int], grid_mm: float, body: np.ndarray | None = None
) -> tuple[np.ndarray, tuple]:
    """Affine [4, 4] and shape of a grid of `grid_mm` in the plane and of the same slices as a volume of RAS order.

    It covers the whole plane, or the box of a `body` [X, Y, Z] and a margin, in sides that are multiples of 16 pixels.
    """
    sizes = np.array(spacing(affine))[:2]
    low, high = np.zeros(2), np.array(shape[:2]) - 1.0
    if body is not None:
        places = [np.flatnonzero(body.any((1 - axis, 2))) for axis in (0, 1)]
        low, high = np.array([p[0] for p in places]), np.array([p[-1] for p in places])
    spans = (high - low) * sizes / grid_mm + 1 + (0 if body is None else 2 * MARGIN)
    counts = [FIELD * -(-round(span) // FIELD) if body is not None else max(1, round(span)) for span in spans]
    step = np.diag([*(grid_mm / sizes), 1.0, 1.0])
    step[:2, 3] = (low + high) / 2 - (np.array(counts) - 1) / 2 * grid_mm / sizes
    return affine @ step, (int(counts[0]), int(counts[1]), int(shape[2]))


def on_grid(hu: MetaTensor, affine: np.ndarray, shape: Sequence[int]) -> Tensor:
    """A CT [1, X, Y, Z] in HU as model units on another grid [*shape], air outside."""
    values = to_units(hu.as_tensor()[0]).numpy()
    return torch.from_numpy(resample(values, hu.affine.numpy().astype(np.float64), affine, shape)).clamp(0, TOP)


class LoadCT(Transform):
    """Reads the cone-beam CT of a case ("cbct", else "image") and gives its body as axial slices of `grid_mm` in model units.

    Adds "image" [1, H, W, D], (HU + 1000) / 2000 in [0, 1.5], axes growing to R, A and S, slices as scanned; "truth" alike from
    the "ct" of the same person and place, where the case has one (0 elsewhere); "given", "wanted" and "known" [1]; "inside"
    [1, H, W, D], the body; "position" [D] from 0 at the lowest slice to 1; "slice_index" [D], "scan" as stored, "image_path" and
    "notes". A case with a "ct" alone is its own truth: `simulate` makes the cone-beam CT from it. `slices` ("all", "central:8",
    "60:70") are all that is read; a case's own "slices" go first. `spacing_range` (mm, in the plane) is the valid range; beyond
    it a note is added. An array in place of a path has 1 mm voxels.

    Raises InputError for a case with a "problem", for what is not CT in HU, without a body or of two places.
    """

    def __init__(
        self,
        grid_mm: float = 2.0,
        spacing_range: tuple[float, float] = (0.3, 3.0),
        simulate: Simulate | None = None,
        slices: str = "all",
    ) -> None:
        if not grid_mm > 0:
            raise InputError(f"grid_mm={grid_mm} is not a positive pixel size in mm")
        self.grid_mm, self.spacing_range, self.simulate, self.slices = grid_mm, tuple(spacing_range), simulate, slices

    def __call__(self, data: Mapping) -> dict:
        if data.get("problem"):
            raise InputError(str(data["problem"]))
        source, truth = data.get(SOURCE), data.get(TARGET)
        if source is None and truth is None:
            source, truth = (None, data["image"]) if self.simulate else (data["image"], None)
        if source is None and self.simulate is None:
            raise InputError(f"{truth}: is the CT to be made: give a cone-beam CT, by -i cbct=FILE if its name does not tell")
        named = source if source is not None else truth
        stored, notes = read_ct(named, "cone-beam CT" if source is not None else "CT")
        oriented = orient(stored, "RAS")
        body = self._body(oriented, named)  # of all slices, so that the field is the same whichever are taken
        first, stop = parse_slices(data.get("slices", self.slices), oriented.shape[-1])
        scan, here = crop_slices(oriented, first, stop), slice(first, stop)
        index = torch.arange(first, first + scan.shape[-1])
        reference = scan if source is None else None
        if source is None:
            scan = self._simulated(scan, index)
        elif truth is not None:
            reference, remarks = read_ct(truth)
            reference, notes = orient(reference, "RAS"), notes + remarks
        volumes = self._slices(scan, reference, named, body, here) | {
            "slice_index": index,
            "scan": restore(scan, stored.affine.numpy()),
        }
        for key in ("image", "truth", "inside"):
            volumes[key].meta["stored_affine"] = volumes["scan"].affine.numpy().astype(np.float64)
            volumes[key].meta["stored_shape"] = np.array(volumes["scan"].shape[1:])
        notes += [note] if (note := check_spacing(spacing(scan.affine)[:2], *self.spacing_range)) else []
        volumes |= {"image_path": str(named) if isinstance(named, str | Path) else "array", "notes": "\n".join(notes)}
        return {k: v for k, v in data.items() if k not in (SOURCE, TARGET)} | volumes | {"given_roles": SOURCE, "first": SOURCE}

    @staticmethod
    def _body(scan: MetaTensor, named) -> np.ndarray:
        """The body [X, Y, Z] in a CT of RAS order."""
        try:
            return body_mask(scan.as_tensor()[0].numpy(), spacing(scan.affine))
        except InputError as error:
            raise InputError(f"{named}: {error}") from error

    def _simulated(self, ct: MetaTensor, index: Tensor) -> MetaTensor:
        volume = self.simulate(ct.as_tensor()[0].movedim(-1, 0)[:, None], spacing(ct.affine)[:2], index.tolist())
        return MetaTensor(volume[:, 0].movedim(0, -1)[None], affine=ct.affine)

    def _slices(self, scan: MetaTensor, reference: MetaTensor | None, named, body: np.ndarray, here: slice) -> dict:
        """Source, truth and body on the model's grid, and their flags; `here`: which slices of the body these are."""
        affine = scan.affine.numpy().astype(np.float64)
        grid, shape = plane_grid(affine, scan.shape[1:], self.grid_mm, body)
        inside = resample(body[..., here], affine, grid, shape) > 0.5
        truth = torch.zeros(shape) if reference is None else on_grid(reference, grid, shape)
        if reference is not None and (share := float((to_hu(truth)[inside] > SOFT).float().mean())) < LEAST_OVERLAP / 2:
            raise InputError(f"{named}: the CT covers {share:.0%} of the body: it is of another place or person")
        place = lambda x: MetaTensor(x[None], affine=torch.from_numpy(grid))  # noqa: E731
        volumes = {"image": place(on_grid(scan, grid, shape)), "truth": place(truth), "inside": place(torch.from_numpy(inside))}
        flags = {"given": torch.ones(1), "wanted": torch.ones(1), "known": torch.full((1,), float(reference is not None))}
        return volumes | flags | {"position": torch.arange(shape[2]) / max(1, shape[2] - 1)}

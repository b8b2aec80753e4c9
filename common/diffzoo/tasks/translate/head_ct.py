"""From T1 and T2 of a whole head, with its skull, to axial slices for the making of its CT: a MONAI transform."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array
from diffzoo.imaging.brain_mask import is_stripped
from diffzoo.imaging.geometry import check_spacing, orient, spacing
from diffzoo.imaging.head_mask import head_mask
from diffzoo.imaging.heads import TOP, check_scan, head_grid, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.registration import Align
from diffzoo.tasks.translate.heads import AUTO, same_grid
from diffzoo.tasks.translate.roles import JOINED, available, chosen, with_first

SOURCES, TARGETS = ("t1", "t2"), ("ct",)
AIR_HU, SPAN_HU, TOP_HU = -1000.0, 2000.0, 2000.0  # HU that is 0 in model units, HU of one unit, the cut
REACH_MM = 170.0  # below the vertex: what lies lower is neck and jaw
BRIGHT = 95  # percentile of the head that becomes 1
LEAST_OVERLAP = 0.8  # of the head, that a further image has to cover


class LoadHeadMR(Transform):
    """Reads "t1" and "t2", or one of them, of a head with its skull as axial slices "image" [2, H, W, D], about [0, 1].

    Slices thicker than 1.25 `grid_mm` stay, and their plane is resampled to `grid_mm`; else the grid is isotropic along R, A
    and S. The field is the head's, to 170 mm below its vertex, widened to `field` voxels or the next multiple of 16. Each image
    is divided by the 95th percentile of the head, cut at 2, and 0 outside the head. The keys are those of `heads.LoadContrasts`:
    "truth" [1, H, W, D] is a "ct" of the case in model units (`to_model`), "inside" the head, "position" [D] the height of a
    slice, 1 at the vertex and 0 at 170 mm below it. A second image on another grid is brought onto the first by `align`.
    Raises InputError for a case with a "problem", with no MR, for a skull-stripped head, and for what is no MR.
    """

    def __init__(
        self,
        grid_mm: float = 2.0,
        field: tuple[int, int] = (96, 112),
        target: str = AUTO,
        align: Align | None = None,
        spacing_range: tuple[float, float] = (0.4, 6.0),
    ) -> None:
        if not grid_mm > 0:
            raise InputError(f"grid_mm={grid_mm} is not a positive voxel size in mm")
        if target != AUTO:
            chosen(target, TARGETS)
        self.grid_mm, self.field, self.align, self.spacing_range = grid_mm, tuple(field), align, tuple(spacing_range)

    def __call__(self, data: Mapping) -> dict:
        data = with_first(data, (*SOURCES, *TARGETS))
        given, named = self._given(data), str(data.get("case", "the array"))
        first = next((role for role in given if data[role] is data["image"] or str(data[role]) == str(data["image"])), given[0])
        head = self._head(data[first])
        maps, notes = {first: scaled(head["values"], head["inside"])}, list(head["notes"])
        for role in (role for role in given if role != first):
            values, remarks = self._other(role, data[role], head)
            maps[role] = scaled(values, head["inside"])
            notes += remarks
        truth = self._truth(data["ct"], head, notes) if data.get("ct") is not None else None
        empty = np.zeros(head["inside"].shape, np.float32)
        volumes = {
            "image": self._on_grid([maps.get(role, empty) for role in SOURCES], head),
            "truth": self._on_grid([empty if truth is None else truth], head),
            "inside": self._on_grid([head["inside"]], head),
            "given": torch.tensor([float(role in given) for role in SOURCES]),
            "wanted": torch.ones(1),
            "known": torch.tensor([float(truth is not None)]),
            "position": heights(head["inside"], spacing(head["grid"])[2]),
            "slice_index": torch.arange(empty.shape[2]),
            **{"scan": head["stored"], "given_roles": JOINED.join(given), "first": first, "notes": "\n".join(notes)},
            "image_path": str(data[first]) if isinstance(data[first], str | Path) else "array",
        }
        kept = {key: value for key, value in data.items() if key not in (*SOURCES, *TARGETS)}
        return kept | {"case": named} | volumes

    def _given(self, data: Mapping) -> list[str]:
        here = available(data, SOURCES)
        given = chosen(data["given"], here, "given") if data.get("given") else here
        if not given:
            raise InputError(f"{data.get('case', 'the case')}: has no MR: give -i t1=FILE, -i t2=FILE or both")
        return given

    def _head(self, source) -> dict:
        """The first image: "stored", the grid and shape of the model, "values" and "inside" on it, "notes"."""
        is_path = isinstance(source, str | Path)
        named, stored = str(source) if is_path else "the array", read_volume(source) if is_path else from_array(source)
        notes = list(stored.meta.get("warnings", ())) + check_scan(stored, named)
        scan = orient(stored, "RAS")
        sizes, values = spacing(scan.affine), scan.as_tensor()[0].numpy().clip(min=0)
        if is_stripped(values, sizes):
            raise InputError(f"{named}: the skull was removed: a CT of the head is made from the whole scan, give that one")
        try:
            head = head_mask(values, sizes)
        except InputError as error:
            raise InputError(f"{named}: {error}") from error
        upper = reached(head, sizes[2])
        if not np.array_equal(upper, head):
            notes.append(f"what lies more than {REACH_MM:g} mm below the vertex is left out: the CT has air there")
        affine = scan.affine.numpy().astype(np.float64)
        grid, shape = head_grid(upper, affine, self.grid_mm, self.field)
        remark = check_spacing(sizes, *self.spacing_range)
        return {
            "stored": stored,
            "grid": grid,
            "values": resample(values, affine, grid, shape),
            "inside": resample(upper, affine, grid, shape) > 0.5,
            "notes": notes + [remark] * bool(remark),
        }

    def _placed(self, role: str, source, head: Mapping, low: float) -> tuple[np.ndarray, MetaTensor, list[str]]:
        """A further image of the case on the model's grid, less `low`; the image as stored; notes."""
        stored = read_volume(source) if isinstance(source, str | Path) else from_array(source)
        scan, place, notes = orient(stored, "RAS"), np.eye(4), []
        if self.align is not None and not same_grid(stored, head["stored"]):
            place = self.align(orient(head["stored"], "RAS"), scan)
            turn = np.degrees(np.arccos(np.clip((np.trace(place[:3, :3]) - 1) / 2, -1, 1)))
            notes.append(f"the {role} was aligned with the first image, turned by {turn:.1f} degrees")
        affine = np.linalg.inv(place) @ scan.affine.numpy().astype(np.float64)
        values = (scan.as_tensor()[0].numpy() - low).clip(min=0)
        return resample(values, affine, head["grid"], head["inside"].shape), stored, notes

    def _other(self, role: str, source, head: Mapping) -> tuple[np.ndarray, list[str]]:
        values, stored, notes = self._placed(role, source, head, 0.0)
        named = str(source) if isinstance(source, str | Path) else f"the {role}"
        notes += check_scan(stored, named)
        if not (share := float((values[head["inside"]] > 0).mean())) >= LEAST_OVERLAP:
            raise InputError(f"{named}: covers {share:.0%} of the head that the first image shows: is it of another person?")
        return values, notes

    def _truth(self, source, head: Mapping, notes: list[str]) -> np.ndarray:
        """A CT of the same head in model units, air outside the head."""
        values, stored, remarks = self._placed("ct", source, head, AIR_HU)
        if float(stored.min()) > -500:
            raise InputError(f"{source}: has no air of -1000 HU in it: is it a CT, in Hounsfield units?")
        notes += remarks
        return np.where(head["inside"], to_model(values + AIR_HU), 0).astype(np.float32)

    def _on_grid(self, channels: Sequence[np.ndarray], head: Mapping) -> MetaTensor:
        stored = head["stored"]
        meta = {"stored_affine": stored.affine.numpy().astype(np.float64), "stored_shape": np.array(stored.shape[1:])}
        return MetaTensor(torch.from_numpy(np.stack(channels)), affine=torch.from_numpy(head["grid"]), meta=meta)


def reached(head: np.ndarray, step_mm: float) -> np.ndarray:
    """The part of a head [X, Y, Z], Z upwards, that lies within 170 mm of its vertex."""
    top = int(np.flatnonzero(head.any((0, 1)))[-1])
    upper = head.copy()
    upper[:, :, : max(0, top - int(REACH_MM / step_mm))] = False
    return upper


def heights(head: np.ndarray, step_mm: float) -> torch.Tensor:
    """Height [D] of each slice of a head [H, W, D]: 1 at its vertex, 0 at 170 mm below it and lower."""
    top = int(np.flatnonzero(head.any((0, 1)))[-1])
    return (1 - (top - torch.arange(head.shape[2])).float() * step_mm / REACH_MM).clamp(0, 1)


def scaled(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """An MR in model units: 1 at the 95th percentile of the head, cut at 2, 0 outside. Raises InputError for a dark one."""
    level = float(np.percentile(values[inside], BRIGHT))
    if not level > 0:
        raise InputError("the head has no signal: is this a magnitude MR?")
    return np.where(inside, values / level, 0).clip(0, TOP).astype(np.float32)


def to_model(hu):
    """Model units of HU (array or tensor), cut at -1000 and 2000: 0 at air, 1.5 at the densest bone."""
    return (hu.clip(AIR_HU, TOP_HU) - AIR_HU) / SPAN_HU

"""From a PET of a head, and a T1 of the same person, to axial slices for a PET of full counts: a MONAI transform."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array
from diffzoo.imaging.geometry import check_spacing, orient, spacing
from diffzoo.imaging.guide import low_pass
from diffzoo.imaging.heads import TOP, check_scan, head_grid, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.pet import FWHM, noise_amount, pet_brain, uptake_level
from diffzoo.imaging.registration import Align
from diffzoo.names import nearest
from diffzoo.tasks.translate.head_ct import heights, scaled
from diffzoo.tasks.translate.heads import same_grid
from diffzoo.tasks.translate.roles import JOINED, with_first

PET_ROLES, FULL = ("pet", "t1"), "fullpet"  # what can be given, in the order of the network's channels, and what is made
MODES = {  # what the network is told of PET and T1, and whether the data come in by another way
    "pet": ("pet",),
    "pet_mr": ("pet", "t1"),
    "mr": ("t1",),
    "mr_petcon": ("t1",),
}
LEAST_OVERLAP = 0.8  # of the brain, that a T1 has to cover
LEAST_SLICES = 8


class LoadPET(Transform):
    """Reads "pet" of a head, and "t1", as axial slices "image" [2, H, W, D], about [0, 1], with what is known of them.

    mode: "pet", "pet_mr", "mr" or "mr_petcon" (`MODES`); "auto" is pet_mr where there is a T1, else pet. Slices thicker than 1.25
    `grid_mm` stay; else the grid is isotropic. PET is divided by one "scale" for the whole scan, the 95th percentile of its
    smoothed brain, T1 by its own; both are 0 outside the brain ("inside", `imaging.pet.pet_brain`). "noise" [1] is a, of a noise
    with the standard deviation a sqrt(PET), told by `noise` or from the image, whose last filter has `filter_mm` at half maximum.
    The keys are those of `head_ct.LoadHeadMR`; "truth" is a "fullpet" of the case. A T1 on another grid is brought onto the PET
    by `align`. Raises InputError for an unknown mode, one that needs a T1 where there is none, and for what is no PET of a head.
    """

    def __init__(
        self,
        grid_mm: float = 2.0,
        field: tuple[int, int] = (96, 112),
        mode: str = "auto",
        align: Align | None = None,
        noise: float | None = None,
        filter_mm: float = 4.0,
        spacing_range: tuple[float, float] = (0.8, 6.0),
    ) -> None:
        if mode not in ("auto", *MODES):
            raise InputError(f"mode={mode}: unknown; {nearest(mode, ('auto', *MODES))}")
        if not grid_mm > 0:
            raise InputError(f"grid_mm={grid_mm} is not a positive voxel size in mm")
        self.grid_mm, self.field, self.mode, self.align = grid_mm, tuple(field), mode, align
        self.noise, self.filter_mm, self.spacing_range = noise, filter_mm, tuple(spacing_range)

    def __call__(self, data: Mapping) -> dict:
        data = with_first(data, (*PET_ROLES, FULL))
        named = str(data.get("case", "the array"))
        mode = self._mode(data, named)
        head = self._brain(data, named)
        notes, inside = list(head["notes"]), head["inside"]
        t1 = self._t1(data["t1"], head, notes) if "t1" in MODES[mode] else np.zeros(inside.shape, np.float32)
        truth = self._truth(data[FULL], head) if data.get(FULL) is not None else None
        pet = np.where(inside, head["values"] / head["scale"], 0).astype(np.float32)
        stacks = {"image": [pet, t1], "truth": [np.zeros_like(pet) if truth is None else truth], "inside": [inside]}
        volumes = {key: _on_grid(value, head) for key, value in stacks.items()}
        given = (*PET_ROLES,) if mode == "mr_petcon" else MODES[mode]
        volumes |= {
            "given": torch.tensor([float(role in MODES[mode]) for role in PET_ROLES]),
            "wanted": torch.ones(1),
            "known": torch.tensor([float(truth is not None)]),
            "position": heights(inside, spacing(head["grid"])[2]),
            "slice_index": torch.arange(inside.shape[2]),
            "noise": torch.tensor([self._noise(pet, inside)]),
            "consistent": torch.tensor([float(mode == "mr_petcon")]),
            **{"scan": head["stored"], "scale": head["scale"], "notes": "\n".join(notes)},
            **{"given_roles": JOINED.join(given), "first": "pet", "mode": mode},
            "image_path": str(data["pet"]) if isinstance(data["pet"], str | Path) else "array",
        }
        kept = {key: value for key, value in data.items() if key not in (*PET_ROLES, FULL)}
        return kept | {"case": named} | volumes

    def _mode(self, data: Mapping, named: str) -> str:
        if data.get("pet") is None:
            raise InputError(f"{named}: has no PET: give -i pet=FILE, and -i t1=FILE where there is a T1 of the same person")
        has_t1 = data.get("t1") is not None
        mode = ("pet_mr" if has_t1 else "pet") if self.mode == "auto" else self.mode
        if "t1" in MODES[mode] and not has_t1:
            raise InputError(f"{named}: mode={mode} needs a T1 of the same person: give -i t1=FILE, or set mode=pet")
        return mode

    def _brain(self, data: Mapping, named: str) -> dict:
        """The PET: "stored", the grid of the model, "values" and "inside" on it, "scale", "notes"."""
        source = data["pet"]
        stored = read_volume(source) if isinstance(source, str | Path) else from_array(source)
        named = str(source) if isinstance(source, str | Path) else named
        if stored.meta.get("modality", "PT") not in ("PT", "PET"):
            raise InputError(f"{named}: is {stored.meta['modality']}, not PET")
        scan = orient(stored, "RAS")
        if min(scan.shape[1:]) < LEAST_SLICES:
            raise InputError(f"{named}: {min(scan.shape[1:])} slices are too few; at least {LEAST_SLICES} are needed")
        sizes, values = spacing(scan.affine), scan.as_tensor()[0].numpy()
        notes = list(stored.meta.get("warnings", ()))
        notes += ["negative values were set to 0"] if values.min() < 0 else []
        values = values.clip(min=0)
        try:
            inside = pet_brain(values, sizes)
        except InputError as error:
            raise InputError(f"{named}: {error}") from error
        affine = scan.affine.numpy().astype(np.float64)
        grid, shape = head_grid(inside, affine, self.grid_mm, self.field)
        remark = check_spacing(sizes, *self.spacing_range)
        return {
            **{"stored": stored, "grid": grid, "scale": uptake_level(values, inside, sizes)},
            "values": resample(values, affine, grid, shape),
            "inside": resample(inside, affine, grid, shape) > 0.5,
            "notes": notes + [remark] * bool(remark),
        }

    def _t1(self, source, head: Mapping, notes: list[str]) -> np.ndarray:
        """A T1 of the same head on the model's grid, in its units."""
        is_path = isinstance(source, str | Path)
        stored, named = (read_volume(source), str(source)) if is_path else (from_array(source), "the T1")
        notes += check_scan(stored, named)
        scan, place = orient(stored, "RAS"), np.eye(4)
        if self.align is not None and not same_grid(stored, head["stored"]):
            place = self.align(orient(head["stored"], "RAS"), scan)
            turn = np.degrees(np.arccos(np.clip((np.trace(place[:3, :3]) - 1) / 2, -1, 1)))
            notes.append(f"the t1 was aligned with the PET, turned by {turn:.1f} degrees")
        affine = np.linalg.inv(place) @ scan.affine.numpy().astype(np.float64)
        values = resample(scan.as_tensor()[0].numpy().clip(min=0), affine, head["grid"], head["inside"].shape)
        if not (share := float((values[head["inside"]] > 0).mean())) >= LEAST_OVERLAP:
            raise InputError(f"{named}: covers {share:.0%} of the brain that the PET shows: is it of another person?")
        return scaled(values, head["inside"])

    def _truth(self, source, head: Mapping) -> np.ndarray:
        """A PET of full counts on the model's grid, in units of the given one."""
        stored = read_volume(source) if isinstance(source, str | Path) else from_array(source)
        scan = orient(stored, "RAS")
        values = resample(scan.as_tensor()[0].numpy(), scan.affine.numpy().astype(np.float64), head["grid"], head["inside"].shape)
        return np.where(head["inside"], values / head["scale"], 0).clip(0, TOP).astype(np.float32)

    def _noise(self, pet: np.ndarray, inside: np.ndarray) -> float:
        if self.noise is not None:
            return float(self.noise)
        slices, mask = (torch.from_numpy(np.ascontiguousarray(x)).movedim(-1, 0) for x in (pet, inside))
        return noise_amount(slices, mask, self.filter_mm / self.grid_mm)


def centre_of(pet: torch.Tensor, given: torch.Tensor, inside: torch.Tensor, width: float) -> torch.Tensor:
    """What is diffused is the PET of full counts less this: the given one [B, 1, H, W] under a Gaussian of `width` pixels.

    given: [B, 1], 0 where the network is not told of the PET: the centre is 0 then, as for a width of 0; inside: the brain. The
    width is that at half maximum; what the filter takes in from beyond the brain, where PET is 0, is set right.
    """
    if width <= 0:
        return torch.zeros_like(pet)
    weight = low_pass(inside.to(pet), width / FWHM).clamp(min=1e-3)
    return low_pass(pet, width / FWHM) / weight * inside * given.to(pet).view(-1, 1, 1, 1)


def _on_grid(channels: list[np.ndarray], head: Mapping) -> MetaTensor:
    stored = head["stored"]
    meta = {"stored_affine": stored.affine.numpy().astype(np.float64), "stored_shape": np.array(stored.shape[1:])}
    return MetaTensor(torch.from_numpy(np.stack(channels)), affine=torch.from_numpy(head["grid"]), meta=meta)

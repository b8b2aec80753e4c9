"""From the MR contrasts of a head on disk to its brain as axial slices, a channel a contrast: a MONAI transform."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import orient
from diffzoo.imaging.head_units import to_model, units_of
from diffzoo.imaging.heads import TOP, LoadHead, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.registration import Align
from diffzoo.tasks.translate.roles import JOINED, available, chosen, with_first

AUTO = "auto"
LEVELS_OF = {"t1": "t1", "t1post": "t1", "t2": "t2", "flair": "flair"}  # whose units (`imaging.head_units`) a role has
LEAST_OVERLAP = 0.8  # of the brain, that a further contrast has to cover
SAME = 0.01  # of a voxel: grids that differ by less are one


class LoadContrasts(Transform):
    """Reads the contrasts of a case (`roles.role_cases`) onto the grid that `imaging.heads.LoadHead` makes for the first one.

    Adds "image" [R, H, W, D], a channel a role of `roles` in model units, those that are not given 0; "truth" alike, of the
    wanted ones that are known; "given", "wanted" and "known" [R]; "inside" [1, H, W, D], the brain; "position" [D], 0 at the
    bottom of the brain and 1 at its top; "slice_index" [D], "scan" as stored, "image_path", "notes". Given is what a case's
    "given" names, else all that is there but not `target`; wanted are the others of its "wanted", or of `target` (auto: of all).

    A contrast on another grid is brought onto the first by `align` (world maps as in `imaging.registration`), one on the same
    grid is taken as it is. Raises InputError for a case with a "problem", with nothing given or wanted, or whose contrasts do
    not overlap.
    """

    def __init__(
        self,
        roles: Sequence[str],
        grid_mm: float = 1.5,
        field: tuple[int, int] = (96, 128),
        target: str = AUTO,
        align: Align | None = None,
        spacing_range: tuple[float, float] = (0.4, 6.0),
    ) -> None:
        self.roles, self.align = tuple(roles), align
        self.target = None if target == AUTO else chosen(target, self.roles)
        self.load = LoadHead(grid_mm, spacing_range, field=tuple(field))

    def __call__(self, data: Mapping) -> dict:
        data = with_first(data, self.roles)
        given, wanted = self._split(data)
        first = self._first(data, given)
        head = self.load({"image": data[first], "modality": LEVELS_OF[first]})
        maps, notes = {first: head["image"].as_tensor()[0]}, [head["notes"]] if head["notes"] else []
        for role in (r for r in self.roles if r != first and (r in given or r in wanted) and data.get(r) is not None):
            maps[role], remarks = self._other(role, data[role], head)
            notes += remarks
        known, brain = [r for r in wanted if r in maps], head["brain"].as_tensor()[0]
        rows = brain.any(0).any(0).nonzero().flatten()
        volumes = {"image": self._stack(given, maps, head), "truth": self._stack(wanted, maps, head), "inside": head["brain"]}
        volumes |= {"given": self._flags(given), "wanted": self._flags(wanted), "known": self._flags(known)}
        volumes["position"] = ((torch.arange(brain.shape[2]) - rows[0]) / max(1, int(rows[-1] - rows[0]))).float()
        volumes |= {"given_roles": JOINED.join(given), "first": first, "notes": "\n".join(notes)}
        volumes |= {key: head[key] for key in ("scan", "slice_index", "image_path")}
        return {key: value for key, value in data.items() if key not in self.roles} | volumes

    def _split(self, data: Mapping) -> tuple[list[str], list[str]]:
        """Roles that are given, and those that are wanted."""
        here, named = available(data, self.roles), data.get("case", "the array")
        target = chosen(data["wanted"], self.roles, "wanted") if isinstance(data.get("wanted"), str) else self.target or ()
        given = chosen(data["given"], here, "given") if data.get("given") else [r for r in here if r not in target]
        wanted = [r for r in (target or self.roles) if r not in given]
        if not given:
            raise InputError(f"{named}: without {', '.join(here)} nothing is given to make it from: give another image")
        if not wanted:
            raise InputError(f"{named}: all of {', '.join(here)} are given: name what to make of the rest, --set target=ROLE")
        return given, wanted

    def _first(self, data: Mapping, given: Sequence[str]) -> str:
        """The role whose grid the result has: that of the first image where it is given."""
        own = [role for role in given if data[role] is data["image"] or str(data[role]) == str(data["image"])]
        return (own or given)[0]

    def _stack(self, names: Sequence[str], maps: Mapping[str, torch.Tensor], head: Mapping) -> MetaTensor:
        """A channel a role [R, H, W, D]: its map where it is named and there, else 0."""
        empty = torch.zeros(head["brain"].shape[1:])
        channels = [maps[role] if role in names and role in maps else empty for role in self.roles]
        meta = {key: head["image"].meta[key] for key in ("stored_affine", "stored_shape")}
        return MetaTensor(torch.stack(channels), affine=head["image"].affine, meta=meta)

    def _flags(self, names: Sequence[str]) -> torch.Tensor:
        return torch.tensor([float(role in names) for role in self.roles])

    def _other(self, role: str, source, head: Mapping) -> tuple[torch.Tensor, list[str]]:
        """A further contrast [H, W, D] on the grid of the head, in model units, and what is to be told of it."""
        first, brain, notes, place = head["scan"], head["brain"].as_tensor()[0].numpy(), [], np.eye(4)
        is_path = isinstance(source, str | Path)
        stored = read_volume(source) if is_path else MetaTensor(torch.as_tensor(source)[None].float(), affine=first.affine)
        scan = orient(stored, "RAS")
        if self.align is not None and not same_grid(stored, first):
            place = self.align(orient(first, "RAS"), scan)
        if not np.array_equal(place, np.eye(4)):
            turn = np.degrees(np.arccos(np.clip((np.trace(place[:3, :3]) - 1) / 2, -1, 1)))
            notes.append(f"the {role} was aligned with the {head['modality']}, turned by {turn:.1f} degrees")
        affine = np.linalg.inv(place) @ scan.affine.numpy().astype(np.float64)
        grid = head["image"].affine.numpy().astype(np.float64)
        values = resample(scan.as_tensor()[0].numpy().clip(min=0), affine, grid, brain.shape)
        if not (share := float((values[brain] > 0).mean())) >= LEAST_OVERLAP:
            named = source if is_path else f"the {role}"
            raise InputError(f"{named}: covers {share:.0%} of the brain that the first image shows: is it of another person?")
        level = to_model(values, units_of(values[brain], LEVELS_OF[role]))
        return torch.from_numpy(np.where(brain, level, 0).clip(0, TOP)).float(), notes


class EverySlice(Transform):
    """Keeps each `every`-th slice of what a loader of translations gives, on a grid of as much wider steps; 1 keeps all."""

    STACKS = ("image", "truth", "inside")

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise InputError(f"every={every}: each slice (1), each second one (2) ... can be kept")
        self.every = every

    def __call__(self, data: Mapping) -> dict:
        if self.every == 1:
            return dict(data)
        affine = data["image"].affine.clone()
        affine[:3, 2] *= self.every
        out = dict(data) | {key: data[key][:: self.every] for key in ("position", "slice_index")}
        for key in self.STACKS:
            meta = {name: data["image"].meta[name] for name in ("stored_affine", "stored_shape")}
            out[key] = MetaTensor(data[key].as_tensor()[..., :: self.every].contiguous(), affine=affine, meta=meta)
        return out


def same_grid(first: MetaTensor, other: MetaTensor) -> bool:
    """Whether two volumes [C, X, Y, Z] have one shape, and affines that differ by less than a hundredth of a voxel."""
    if first.shape != other.shape:
        return False
    apart = np.abs(first.affine.numpy() - other.affine.numpy()).max()
    return bool(apart <= SAME * np.abs(np.linalg.det(other.affine.numpy()[:3, :3])) ** (1 / 3))

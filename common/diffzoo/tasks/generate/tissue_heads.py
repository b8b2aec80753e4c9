"""From a brain MR on disk to its slices beside their soft tissue maps: MONAI transforms for what is drawn on label maps."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from diffzoo.errors import InputError
from diffzoo.imaging.fields import warp_onto
from diffzoo.imaging.geometry import orient, spacing
from diffzoo.imaging.head_units import to_model, units_of
from diffzoo.imaging.heads import TOP, LoadHead, modality_of, one_hot, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.registration import alignment_field
from diffzoo.imaging.tissue import template_alignment, tissue_maps, without_bias

TEMPLATE_MM = 3.0  # of the stored template: priors are smooth
T1 = "t1"


def build_template(t1: str | Path, grey: str | Path, white: str | Path, grid_mm: float = TEMPLATE_MM) -> dict[str, torch.Tensor]:
    """T1, grey and white matter of a template as tensors to store: "maps" [3, X, Y, Z] and "affine" [4, 4], half.

    Values are divided by the greatest of each file: those of the priors are then probabilities. InputError for unequal grids.
    """
    parts = [read_volume(path, allow_constant=path != t1) for path in (t1, grey, white)]
    if any(part.shape != parts[0].shape or not np.allclose(part.affine, parts[0].affine) for part in parts):
        raise InputError("the files of a template share one grid: T1, grey and white matter")
    source = parts[0].affine.numpy().astype(np.float64)
    ratio = grid_mm / np.array(spacing(source))
    affine = source @ np.diag([*ratio, 1.0])
    shape = [int((n - 1) / r) + 1 for n, r in zip(parts[0].shape[1:], ratio, strict=True)]
    maps = [resample(part[0].numpy() / float(part.max()), source, affine, shape) for part in parts]
    place = torch.from_numpy(affine)
    if not torch.equal(place.half().double(), place):
        raise InputError("the grid of the template has no place in half precision: choose whole voxel sizes")
    return {"maps": torch.from_numpy(np.stack(maps)).half(), "affine": place.half()}


def load_template(path: str | Path) -> MetaTensor:
    """A template that `build_template` made and safetensors stored, [3, X, Y, Z] float32 with its affine."""
    tensors = load_file(path)
    return MetaTensor(tensors["maps"].float(), affine=tensors["affine"].double())


class Told(NamedTuple):
    """A head whose tissues were told: as `LoadHead` gives it, its T1 without bias, the map to the template [4, 4], its maps."""

    head: dict
    t1: MetaTensor
    matrix: np.ndarray
    maps: torch.Tensor


class LoadTissues(Transform):
    """Reads a brain MR "image" and the T1 that tells its tissues, and gives both on the grid of `LoadHead` for that T1.

    A case: {"image": path, "t1": path of a T1 of the same space where "image" is none, optional "mask" (its lesions), "modality",
    "subject", and "borrowed": lesion masks of other people in the template's space, each of which makes further maps}. Gives
    "image" [1, H, W, D], about [0, 1] as `LoadHead`, "label" [5, H, W, D], soft maps of `tissue.LABELS`, "brain", "borrowed"
    [n, 5, H, W, D], "position" [D] (0 at the bottom of the brain, 1 at its top), "modality" and
    "meta" (of the grid, as `BackToScan` takes it). A T1 with a bias field is
    corrected by N4 before its tissues are told. Raises InputError as `LoadHead` does, and for an image without T1.
    """

    def __init__(self, template: MetaTensor, grid_mm: float = 2.5, field: Sequence[int] = (64, 80)) -> None:
        self.template, self.load = template, LoadHead(grid_mm, modality=T1, field=tuple(field))
        digest = hashlib.sha256(template.as_tensor().numpy().tobytes() + np.asarray(template.affine).tobytes()).hexdigest()
        self.same = (digest, grid_mm, tuple(field))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoadTissues) and self.same == other.same

    def __hash__(self) -> int:
        return hash(self.same)

    def __call__(self, data: Mapping) -> dict:
        modality = str(data.get("modality") or modality_of(Path(str(data["image"])).name))
        one_hot(modality)
        first = data["image"] if modality == T1 else data.get("t1")
        if first is None:
            raise InputError(f"{data['image']}: a {modality} alone does not tell tissues: name a T1 of the same space as t1")
        head, seen, matrix, maps = self._classified(first, data.get("mask") or None)
        brain, grid = head["brain"].as_tensor()[0].numpy(), seen.affine
        image = seen if modality == T1 else self._other(data["image"], modality, brain, grid)
        others = [with_lesion(maps, self._placed(path, matrix, seen)) for path in data.get("borrowed", ())]
        rows = np.flatnonzero(brain.any((0, 1)))
        place = (torch.arange(brain.shape[2]) - rows[0]) / max(1, rows[-1] - rows[0])
        volumes = {"image": image.clamp(0, TOP), "label": maps.clone(), "brain": head["brain"], "position": place}
        volumes |= {"modality": modality, "meta": dict(head["image"].meta)}
        return dict(data) | volumes | {"borrowed": torch.stack(others) if others else torch.zeros(0, *maps.shape)}

    def _classified(self, first: str | Path | MetaTensor, mask: str | Path | None) -> Told:
        """The tissues of a T1; those of files are kept: T1, T2 and FLAIR share them, and so do the stages of a training."""
        files = [file for file in (first, mask) if file is not None]
        if not all(isinstance(file, str | Path) and Path(file).exists() for file in files):
            return tell(self, first, mask)
        return _kept(self, str(first), mask and str(mask), tuple(Path(file).stat().st_mtime_ns for file in files))

    def _other(self, path: str | Path, modality: str, brain: np.ndarray, grid: torch.Tensor) -> MetaTensor:
        """A contrast of the same space on the grid of the T1, in its units."""
        scan = orient(read_volume(path), "RAS")
        values = resample(scan.as_tensor()[0].numpy().clip(min=0), scan.affine.numpy(), grid.numpy(), brain.shape)
        even = without_bias(values, brain & (values > 0))
        inside = np.where(brain, to_model(even, units_of(even[brain], modality)), 0)
        return MetaTensor(torch.from_numpy(inside).float()[None], affine=grid)

    def _placed(self, path: str | Path, matrix: np.ndarray, image: MetaTensor) -> torch.Tensor:
        """A lesion mask of the template's space on the grid of an image, [X, Y, Z] in [0, 1]."""
        label = orient(read_volume(path, allow_constant=True), "RAS")
        mask = (label.as_tensor()[None] > 0).float()
        sizes = np.array(spacing(image.affine)) / np.array(spacing(label.affine))
        sigma = np.sqrt(np.maximum(sizes**2 - 1, 0)) / 2.355
        mask = torch.from_numpy(gaussian_filter(mask[0, 0].numpy(), sigma))[None, None]
        return warp_onto(mask, label.affine.numpy(), alignment_field(matrix, image), image.affine.numpy())[0, 0]


def tell(load: LoadTissues, first: str | Path | MetaTensor, mask: str | Path | None) -> Told:
    """The tissues of a T1, and its lesions where a mask is given."""
    head = load.load({"image": first, "modality": T1} | ({"mask": mask} if mask else {}))
    brain = head["brain"].as_tensor()[0].numpy()
    even = without_bias(head["image"].as_tensor()[0].numpy(), brain)
    seen = MetaTensor(torch.from_numpy(even).float()[None], affine=head["image"].affine)
    lesion = head["mask"].as_tensor()[0].numpy().astype(bool) if "mask" in head else None
    matrix = template_alignment(seen, brain, load.template)
    return Told(head, seen, matrix, tissue_maps(seen, brain, load.template, lesion, matrix))


@lru_cache(maxsize=16)
def _kept(load: LoadTissues, first: str, mask: str | None, times: tuple[int, ...]) -> Told:
    return tell(load, first, mask)


def with_lesion(maps: torch.Tensor, lesion: torch.Tensor) -> torch.Tensor:
    """Maps [5, X, Y, Z] in which a lesion, shares in [0, 1], takes the place of grey and white matter, and of no fluid."""
    share = (lesion * (maps[2] + maps[3] + maps[4])).clamp(0, 1)
    return torch.cat([maps[:4] * (1 - share), (maps[4] * (1 - share) + share)[None]]).as_subclass(torch.Tensor)

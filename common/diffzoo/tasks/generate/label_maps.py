"""What images are painted on: label volumes, tissues told from a T1, or nothing but what is asked of a map (`drawing`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array
from diffzoo.imaging.geometry import check_spacing, orient, spacing
from diffzoo.imaging.heads import head_grid, resample
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.tissue import LABELS
from diffzoo.tasks.generate.tissue_heads import LoadTissues

TISSUES = (2, 3)  # grey and white matter, one of which a label map has


class LoadMaps(Transform):
    """Gives soft label maps "image" [5, H, W, D] of `tissue.LABELS` on the model's grid, whatever a case has.

    "image" of a case: a volume of whole numbers 0 to 4 is a label map; any other is a brain MR, whose tissues `tissues` tells
    (its "t1", "mask" and "modality" as there; without a modality it is a T1). A case without an image is one to draw: a map of
    zeros [5, *field, 1], with what is "asked" of it. Adds "asked" [n] (n is 0 where a map is given), "number" (of the case to
    draw), "real" [1, H, W, D] (the MR, on the same grid; of size 0 where there is none) and "notes". Raises InputError for
    labels without tissue, and as `LoadTissues`.
    """

    def __init__(self, tissues: LoadTissues, grid_mm: float = 2.5, field: Sequence[int] = (64, 80)) -> None:
        self.tissues, self.grid_mm, self.field = tissues, grid_mm, tuple(field)

    def __call__(self, data: Mapping) -> dict:
        if "image" not in data:
            return dict(data) | self._empty()
        source = data["image"]
        named = str(source) if isinstance(source, str | Path) else "the array"
        stored = read_volume(source, allow_constant=True) if isinstance(source, str | Path) else from_array(source)
        volumes = self._labels(stored, named) if labelled(stored) else self._segmented(data)
        notes = list(stored.meta.get("warnings", ()))
        note = check_spacing(spacing(stored.affine), 0.4, 6.0)
        volumes |= {"image_path": named if named == str(source) else "array", "notes": "\n".join([*notes, *[note] * bool(note)])}
        volumes = {"real": torch.zeros(0), "asked": torch.zeros(0), "number": torch.tensor(0)} | volumes
        return {key: value for key, value in data.items() if key != "mask"} | volumes

    def _empty(self) -> dict:
        """A case that is still to be drawn."""
        affine = np.diag([self.grid_mm] * 3 + [1.0])
        affine[:2, 3] = -self.grid_mm * (np.array(self.field) - 1) / 2
        shape = np.array([*self.field, 1])
        image = MetaTensor(torch.zeros(len(LABELS), *shape), affine=affine, meta={"stored_affine": affine, "stored_shape": shape})
        return {"image": image, "real": torch.zeros(0), "image_path": "none", "notes": ""}

    def _labels(self, stored: MetaTensor, named: str) -> dict:
        """The shares of each label of a label volume in the voxels of the grid."""
        label = orient(stored, "RAS")
        values = label.as_tensor()[0].numpy().round().astype(np.int16)
        if not np.isin(TISSUES, values).any():
            known = ", ".join(f"{number} {name}" for number, name in enumerate(LABELS))
            raise InputError(f"{named} holds no grey or white matter; labels are {known}")
        source = label.affine.numpy()
        affine, shape = head_grid(values > 0, source, self.grid_mm, self.field)
        shares = [resample((values == k).astype(np.float32), source, affine, shape) for k in range(1, len(LABELS))]
        maps = np.stack(shares).clip(0, 1)
        maps /= np.maximum(maps.sum(0, keepdims=True), 1)
        maps = np.concatenate([1 - maps.sum(0, keepdims=True), maps])
        meta = {"stored_affine": stored.affine.numpy().astype(np.float64), "stored_shape": np.array(stored.shape[1:])}
        return {"image": MetaTensor(torch.from_numpy(maps).float(), affine=affine, meta=meta), "given": "labels"}

    def _segmented(self, data: Mapping) -> dict:
        """The tissues of a brain MR."""
        tissues = self.tissues({"modality": "t1"} | dict(data))
        maps = MetaTensor(tissues["label"].as_tensor(), affine=tissues["image"].affine, meta=tissues["meta"])
        return {"image": maps, "real": tissues["image"], "modality": tissues["modality"], "given": "a brain MR"}


def labelled(volume: MetaTensor) -> bool:
    """Whether a volume is a label map: whole numbers from 0 to 4, of which it has more than one."""
    values = volume.as_tensor()
    top = float(values.max())
    return 0 < top < len(LABELS) and bool((values >= 0).all()) and bool(torch.equal(values, values.round()))


def style_slices(tissues: LoadTissues, scan: str | None, modality: str) -> torch.Tensor | None:
    """Slices [N, 1, H, W] of a brain MR that shows a style, those with brain in them; None for none."""
    if scan is None or is_own(scan):
        return None
    maps_of = tissues.load({"image": scan, "modality": modality})
    slices = torch.as_tensor(maps_of["image"]).as_subclass(torch.Tensor).movedim(-1, 0)
    kept = slices[(slices > 0).flatten(1).float().mean(1) > 0.1]
    if not len(kept):
        raise InputError(f"{scan} shows no slice with enough brain to take a style from")
    return kept


def is_own(style: str | None) -> bool:
    """Whether the style is that of the given image itself, and no path."""
    return style == "own"

"""From an image on disk to the patch that a segmentation takes, and masks back on the image's grid.

A patch is a square of the slice plane around a point, with pixels of one size and grey levels from 0 to 1.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor
from torch.nn import functional as F

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array, with_meta
from diffzoo.imaging.geometry import check_spacing, crop_slices, parse_slices, spacing, to_slices
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.io.frames import read_label

CT_WINDOW = (-1000.0, 1800.0)  # HU of black and white in the pictures of the training, as soft tissue in them tells it
PICTURE_WINDOW = (0.0, 255.0)
NO_AIR = "no value is as low as that of lung in HU: set window to the values of black and white"
LEAST_AIR = -300.0  # HU
LEAST, WIDEST_MM = 16, 128.0  # pixels a side; of a field whose middle may be taken for a nodule


class LoadPatch(Transform):
    """Reads "image" and cuts a patch [1, size, size, D] of it, slices last; "mask" (a path or several, one a reader), too.

    pixel_mm: of the patch; a picture, and an array without an affine, have no pixel size and are taken as they are. centre: "x,y"
    or "x,y,z", voxels as the file stores them (row and column of a picture); None for the middle of the slice; that of a case
    goes first. A third number picks the slice. window: "low:high", the values of black and white, or "auto" (`window_of`).
    Gives "patch", "matrix" [2, 3] (`place`), "image" as it is, slices last, "slice_index", "chain" (0 where a case has none),
    "sized" (whether the size of its pixels is known) and "plane_mm" [2], that size or what is assumed, its
    "readers" [R, H, W, D] where there are masks, and "notes", among them where values are hardly HU.
    Raises InputError for a centre outside the image, for a field of over 128 mm without one, and for slices below 16 pixels a
    side.
    """

    def __init__(
        self,
        size: int = 64,
        pixel_mm: float = 0.5,
        centre: str | None = None,
        window: str = "auto",
        slices: str = "all",
        spacing_range: tuple[float, float] = (0.0, float("inf")),
    ) -> None:
        self.size, self.pixel_mm, self.centre, self.window, self.slices = size, pixel_mm, centre, window, slices
        self.spacing_range = tuple(spacing_range)

    def __call__(self, data: Mapping) -> dict:
        stored, notes = read_image(data["image"])
        sized = has_size(stored)
        notes = notes if sized else [f"no pixel size and no orientation are stated: pixels are taken for {self.pixel_mm:g} mm"]
        sliced, centre = to_slices(stored), data.get("centre") or self.centre
        picked = picked_slices(sliced, stored, centre, self.slices)
        image = with_meta(picked.as_tensor(), picked.affine, stored.affine)
        scale = sizes_of(stored, sliced, self.pixel_mm)
        plane = spacing(image.affine)[:2] if sized else (self.pixel_mm, self.pixel_mm)
        check_field(image, plane, centre)
        warning = check_spacing(plane, *self.spacing_range)
        notes += [NO_AIR] if window_of(self.window, stored) == CT_WINDOW and float(stored.min()) > LEAST_AIR else []
        matrix = place(image.shape[1:3], middle_of(stored, sliced, centre), scale, self.size)
        patch = cut(windowed(image.as_tensor(), window_of(self.window, stored)).movedim(-1, 0), matrix, self.size)
        out = {key: value for key, value in data.items() if key != "mask"} | {"image": image}
        out |= {"image_path": str(data["image"]) if _is_path(data["image"]) else "array", "chain": int(data.get("chain", 0))}
        out |= {"slice_index": torch.arange(*picked_range(sliced, stored, centre, self.slices))}
        out |= {"frequencies": torch.tensor(data["frequencies"])} if "frequencies" in data else {}
        out |= {"sized": sized, "plane_mm": torch.tensor(plane), "patch": patch.movedim(0, -1), "matrix": matrix}
        out |= {"notes": "\n".join(notes + ([warning] if warning else []))}
        if data.get("mask") is not None:
            readers = [picked_slices(to_slices(m), stored, centre, self.slices) for m in read_masks(data["mask"], stored)]
            out["readers"] = with_meta(torch.cat([m.as_tensor() for m in readers]), image.affine, stored.affine)
        return out


def check_field(image: MetaTensor, plane: Sequence[float], centre: str | None) -> None:
    """Refuses an image [1, H, W, D] without a centre that is so wide that its middle means nothing; plane: mm of its pixels."""
    height, width = (n * mm for n, mm in zip(image.shape[1:3], plane, strict=True))
    if centre is None and max(height, width) > WIDEST_MM:
        text = f"a field of {height:.0f} x {width:.0f} mm is more than a patch around a nodule"
        raise InputError(f"{text}: tell where the nodule is, --set centre=x,y,z in voxels")


def read_image(source) -> tuple[MetaTensor, list[str]]:
    """The volume of a path, as `read_volume`, or of an array, as `from_array`; and notes on it."""
    if _is_path(source):
        volume = read_volume(source)
        return volume, list(volume.meta["warnings"])
    return from_array(source), []


def read_masks(source, image: MetaTensor) -> list[MetaTensor]:
    """Masks [1, X, Y, Z] of 0 and 1 on the grid of a stored image: of one path or several; what is above half of the top is 1."""
    sources = [source] if _is_path(source) or hasattr(source, "ndim") else list(source)
    masks = [read_label(s, 0, image, str(s) if _is_path(s) else "the array") for s in sources]
    tops = [255.0 if float(m.max()) > 1 and m.meta.get("kind") == "png" else 1.0 for m in masks]
    return [MetaTensor((m.as_tensor() > t / 2).float(), affine=m.affine) for m, t in zip(masks, tops, strict=True)]


def has_size(stored: MetaTensor) -> bool:
    """Whether an image knows the size of its pixels: pictures and bare arrays do not."""
    return stored.meta.get("kind") != "png" and not ("kind" not in stored.meta and np.allclose(stored.affine, np.eye(4)))


def sizes_of(stored: MetaTensor, sliced: MetaTensor, pixel_mm: float) -> tuple[float, float]:
    """Pixels of the image along each axis of the slice plane that a pixel of the patch spans."""
    if not has_size(stored):
        return 1.0, 1.0
    first, second = spacing(sliced.affine)[:2]
    return pixel_mm / first, pixel_mm / second


def middle_of(stored: MetaTensor, sliced: MetaTensor, centre: str | None) -> tuple[float, float, float]:
    """Voxel of `sliced` that a centre of the stored image means; the third number is NaN where it names no slice.

    Raises InputError for what is not two or three numbers within the image.
    """
    shape = stored.shape[1:]
    if centre is None:
        return (sliced.shape[1] - 1) / 2, (sliced.shape[2] - 1) / 2, math.nan
    try:
        numbers = [float(part) for part in str(centre).split(",")]
    except ValueError:
        numbers = []
    inside = len(numbers) in (2, 3) and all(0 <= n <= size - 1 for n, size in zip(numbers, shape, strict=False))
    if not inside:
        last = ",".join(str(n - 1) for n in shape)
        raise InputError(f"centre={centre!r} is not within the image: give x,y or x,y,z between 0,0,0 and {last}")
    index = np.array([*numbers, *[0.0] * (3 - len(numbers)), 1.0])
    found = np.linalg.inv(np.asarray(sliced.affine)) @ np.asarray(stored.affine) @ index
    return float(found[0]), float(found[1]), float(found[2]) if len(numbers) == 3 else math.nan


def picked_range(sliced: MetaTensor, stored: MetaTensor, centre: str | None, slices: str) -> tuple[int, int]:
    """(first, stop) of a text as `parse_slices`; of all slices the one that a centre of three numbers names."""
    third, count = middle_of(stored, sliced, centre)[2], sliced.shape[-1]
    if math.isnan(third) or str(slices) != "all":
        return parse_slices(slices, count)
    first = min(max(round(third), 0), count - 1)
    return first, first + 1


def picked_slices(sliced: MetaTensor, stored: MetaTensor, centre: str | None, slices: str) -> MetaTensor:
    """The slices of `picked_range`; InputError where they are too small."""
    picked = crop_slices(sliced, *picked_range(sliced, stored, centre, slices))
    if min(picked.shape[1:3]) < LEAST:
        raise InputError(f"slices of {picked.shape[1]} x {picked.shape[2]} pixels are too small: at least {LEAST} x {LEAST}")
    return picked


def window_of(window: str, stored: MetaTensor) -> tuple[float, float]:
    """Values of black and white: those of "low:high"; for "auto" 0 and 255 where all values lie between, else a CT window in HU.

    Raises InputError for another text.
    """
    if str(window) == "auto":
        eight_bit = float(stored.min()) >= 0 and float(stored.max()) <= PICTURE_WINDOW[1]
        return PICTURE_WINDOW if eight_bit else CT_WINDOW
    try:
        low, high = (float(part) for part in str(window).split(":"))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise InputError(f"window={window!r} is not understood: use auto, or low:high such as -1000:1800")
    return low, high


def windowed(values: Tensor, window: Sequence[float]) -> Tensor:
    """Values as grey levels from 0 to 1 between those of black and white."""
    return ((values - window[0]) / (window[1] - window[0])).clamp(0, 1)


def place(field: Sequence[int], centre: Sequence[float], scale: Sequence[float], size: int) -> Tensor:
    """Matrix [2, 3] from a patch onto a field [H, W], both from -1 to 1 as `affine_grid` counts (x first): `scale` field pixels
    a patch pixel, the patch's middle at the field's pixel `centre`."""
    (height, width), (row, column) = field, centre[:2]
    across, down = scale[1] * size / width, scale[0] * size / height
    shift = (2 * column + 1) / width - 1, (2 * row + 1) / height - 1
    return torch.tensor([[across, 0.0, shift[0]], [0.0, down, shift[1]]])


def cut(slices: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Patches [D, C, size, size] of slices [D, C, H, W]; beyond the slice its border is repeated."""
    grid = F.affine_grid(matrix[None].expand(len(slices), 2, 3).float(), (len(slices), 1, size, size), align_corners=False)
    return F.grid_sample(slices.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def put_back(patches: Tensor, matrix: Tensor, field: Sequence[int]) -> Tensor:
    """Patches [D, C, S, S] on slices [D, C, H, W], by linear interpolation; 0 beyond the patch."""
    across, down, shift = matrix[0, 0], matrix[1, 1], matrix[:, 2]
    inverse = torch.tensor([[1 / across, 0.0, -shift[0] / across], [0.0, 1 / down, -shift[1] / down]])
    grid = F.affine_grid(inverse[None].expand(len(patches), 2, 3), (len(patches), 1, *field), align_corners=False)
    return F.grid_sample(patches.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _is_path(source) -> bool:
    return isinstance(source, str | Path)

"""Where something lies, in words and numbers that no two programs read in two ways: side of the person, voxel, slice."""

from collections.abc import Mapping, Sequence

import nibabel as nib
import numpy as np

from diffzoo.imaging.geometry import slice_axis
from diffzoo.imaging.preview import Place

CONVENTION = (
    "mm in the world of the input, RAS+: x grows to the right of the person, y to the front, z to the head; "
    "voxel indices of the volume as stored, and slice numbers, count from 0"
)
PLANES = (("sagittal", "left"), ("coronal", "back"), ("axial", "feet"))  # by world axis, with the side of slice 0
LETTERS = (("A", "P", "H", "F"), ("R", "L", "H", "F"), ("R", "L", "A", "P"))  # left, right, upper and lower side of a picture
NEAR = 5.0  # mm from the middle within which nothing is told to lie left or right
UNKNOWN = "unknown, the header states no orientation"


def stated(notes: str) -> bool:
    """Whether a header states how the volume lies in the person, from what `imaging.io.files.read_volume` warned of."""
    return "orientation" not in notes


def side_of(x: float, middle: float) -> str:
    """The side of a place x (mm, growing to the right of the person) as seen from the middle, in words."""
    if abs(x - middle) < NEAR:
        return "middle"
    return f"{'right' if x > middle else 'left'} of the person"


def placed(regions: Sequence[Mapping], affine: np.ndarray, shape: Sequence[int], middle: float | None) -> list[dict]:
    """Regions with a "centre_mm" and beside it "side", "voxel" (the nearest index) and "slice" of a volume of this affine.

    affine: [4, 4] (RAS+ world, mm); shape: [3]; middle: x of the middle of the person in mm, None where left and right are not
    known.
    """
    affine = np.asarray(affine, dtype=np.float64)
    axis, inverse = slice_axis(affine, shape), np.linalg.inv(affine)
    ways = nib.io_orientation(affine)
    stored = int(np.flatnonzero(ways[:, 0] == axis)[0])
    places = []
    for region in regions:
        voxel = [int(k) for k in np.rint((inverse @ [*region["centre_mm"], 1.0])[:3])]
        number = voxel[stored] if ways[stored, 1] > 0 else shape[stored] - 1 - voxel[stored]
        side = UNKNOWN if middle is None else side_of(region["centre_mm"][0], middle)
        places.append({**region, "side": side, "voxel": voxel, "slice": _numbered(axis, int(number))})
    return places


def taken(numbers: Sequence[int], affine: np.ndarray) -> dict:
    """Slices of these numbers of a volume whose slices are last and grow to R, A or S (`geometry.to_slices`), in words."""
    axis = int(np.abs(np.asarray(affine, dtype=np.float64)[:3, 2]).argmax())
    return _numbered(axis, [int(n) for n in numbers])


def _numbered(axis: int, number: int | list[int]) -> dict:
    plane, start = PLANES[axis]
    return {"plane": plane, "counted_from": start, "number" if isinstance(number, int) else "numbers": number}


def place(
    affine: np.ndarray, shape: Sequence[int], index: int, notes: str = "", number: int | None = None, own: bool = True
) -> Place:
    """Where a slice lies, for its picture: side letters, plane and number, and mm along the axis across it.

    affine [4, 4] and shape [3]: of a volume whose slices are last and whose axes grow to R, A or S; index: of the slice in it;
    number: of the slice in the whole scan, where that is another; own: whether the grid is that of the scan, else no number of it
    is told. Without a stated orientation only the number is told.
    """
    shown = f" {index if number is None else number}" if own else ""
    if not stated(notes):
        return Place(f"slice{shown}" if own else "")
    affine = np.asarray(affine, dtype=np.float64)
    axis = int(np.abs(affine[:3, 2]).argmax())
    where = (affine @ [(shape[0] - 1) / 2, (shape[1] - 1) / 2, index, 1.0])[axis]
    return Place(f"{PLANES[axis][0]}{shown}\n{'xyz'[axis]} {where:+.1f} mm".replace("-", "\N{MINUS SIGN}"), LETTERS[axis])

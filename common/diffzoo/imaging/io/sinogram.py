"""Measured sinograms: an HDF5 file, or a .npy file with a JSON file of the same stem beside it that holds the geometry.

The array (in HDF5 the dataset `sinogram`) is [views, detectors] or [slices, views, detectors]. Keys of the JSON file, in HDF5
attributes or datasets: `angles` (one a view, in `angle_unit`, "degree" or "radian"), `detector_spacing`, `offset`,
`source_distance`, `detector_distance` and `slice_spacing` (mm). Directions and geometry are those of `operators.beams`.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.imaging.io.files import suffix_of
from diffzoo.names import nearest
from diffzoo.operators import beams

UNITS = {"degree": math.pi / 180, "radian": 1.0}
LENGTHS = ("detector_spacing", "offset", "source_distance", "detector_distance", "slice_spacing")
KEYS = ("angles", "angle_unit", *LENGTHS)
MOST = 50.0  # above it no photon gets through; counts and values in HU are
LEAST = -1.0  # noise does not make the beam e times as bright as without a patient


@dataclass(frozen=True, eq=False)
class Sinogram:
    """What one file measured: values float32 [slices, views, detectors], line integrals -log(I / I0), and where its rays ran.

    angles: radians, one a view. detector_spacing and offset are at the detector, source_distance and detector_distance from the
    centre of rotation, all in mm; a fan beam has both distances and a flat detector, a parallel beam neither. `notes` tell, for a
    person, each default that was assumed; equality leaves them out.
    """

    values: Tensor
    angles: tuple[float, ...]
    detector_spacing: float = 1.0
    offset: float = 0.0
    source_distance: float | None = None
    detector_distance: float | None = None
    slice_spacing: float = 1.0
    notes: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        rest = [f.name for f in fields(self) if f.name not in ("values", "notes")]
        return torch.equal(self.values, other.values) and all(getattr(self, k) == getattr(other, k) for k in rest)


def read_sinogram(path: str | os.PathLike, arc: float | None = None) -> Sinogram:
    """Reads and checks one measured sinogram, .npy or HDF5.

    arc (degrees): views without angles are taken as evenly spaced over it from 0, its end not included. Raises InputError, in one
    line, for a file that cannot be read, misspelt keys of the JSON file, values that are not line integrals of at least 8 views
    and 16 detectors, and angles or a geometry that do not fit them.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: check the path")
    raw, facts = (_load_npy if _kind(path) == ".npy" else _load_hdf5)(path)
    return _sinogram(raw, facts, arc, path)


def write_sinogram(path: str | os.PathLike, sinogram: Sinogram) -> None:
    """Writes a sinogram as .npy, with its JSON file, or as HDF5 (.h5, .hdf5); angles in radians, to the last bit.

    Files appear whole or not at all. Raises InputError for what `read_sinogram` refuses.
    """
    import h5py  # here, so that the command line starts without it

    path = Path(path)
    kind = _kind(path)
    facts = {key: getattr(sinogram, key) for key in ("angles", *LENGTHS)} | {"angle_unit": "radian"}
    facts = {key: value for key, value in facts.items() if value is not None}
    values = _sinogram(np.asarray(sinogram.values), facts, None, path).values.numpy()
    if kind == ".npy":
        with atomic(path) as array, atomic(path.with_suffix(".json")) as geometry:
            np.save(array, values, allow_pickle=False)
            geometry.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file["sinogram"], file["angles"] = values, facts.pop("angles")  # no attribute: those end at 64 KiB
        file.attrs.update(facts | {"angle_unit": np.bytes_("radian")})  # of fixed length: damaged, it cannot make HDF5 loop


def _kind(path: Path) -> str:
    if (end := suffix_of(path)) not in (".npy", ".h5", ".hdf5"):
        raise InputError(f"{path}: a sinogram is a .npy, .h5 or .hdf5 file: save it as one of these")
    return end


def _load_npy(path: Path) -> tuple[np.ndarray, dict]:
    try:
        raw = np.array(np.lib.format.open_memmap(path, mode="r"))  # maps no pickle, and nothing longer than the file
    except Exception as error:  # a damaged header raises whatever the parser of its text does
        how = "save plain numbers with numpy.save, or copy it again"
        raise InputError(f"{path}: not a readable .npy array, truncated, or pickled ({_reason(error)}): {how}") from error
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return raw, {}
    try:
        facts = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{beside}: not a readable JSON file ({_reason(error)}): repair or remove it") from error
    if not isinstance(facts, dict):
        raise InputError(f'{beside}: must be one JSON object, such as {{"angles": [...], "detector_spacing": 0.8}}')
    for key in facts:
        if key not in KEYS:
            raise InputError(f"{beside}: unknown key {key!r}; {nearest(key, KEYS)}")
    return raw, {key: value for key, value in facts.items() if value is not None}


def _load_hdf5(path: Path) -> tuple[np.ndarray, dict]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            sets = {key: file[key] for key in ("sinogram", *KEYS) if isinstance(file.get(key), h5py.Dataset)}
            if "sinogram" not in sets:
                contents = " ".join(", ".join(sorted(file)).split()) or "nothing"
                raise InputError(f"{path}: no dataset 'sinogram' (it holds: {contents}): name it so")
            places = [file.attrs, *(data.attrs for data in sets.values())]  # angle_unit may stand at `angles`
            contents = {key: attributes[key] for attributes in places for key in KEYS if key in attributes}
            return sets.pop("sinogram")[()], contents | {key: data[()] for key, data in sets.items()}
    except InputError:
        raise
    except Exception as error:  # a damaged file raises errors of many kinds
        raise InputError(f"{path}: not a readable HDF5 file, or truncated ({_reason(error)}): copy it again") from error


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _sinogram(raw, facts: Mapping, arc: float | None, path: Path) -> Sinogram:
    """The checked sinogram of an array and of what a file tells beside it."""
    values = _check_values(raw, path)
    angles, notes = _check_angles(facts, values.shape[1], arc, path)
    lengths = {key: _length(facts[key], key, path) for key in LENGTHS if key in facts}
    sinogram = Sinogram(torch.from_numpy(values), angles, **lengths)
    _check_geometry(sinogram, path)
    for key, why in (("detector_spacing", ""), ("offset", ", a centred detector,"), ("slice_spacing", "")):
        if key not in facts:
            notes += (f"{key} is not given: {getattr(sinogram, key):g} mm{why} assumed",)
    if sinogram.source_distance is None:
        notes += ("source_distance and detector_distance are not given: parallel beam assumed",)
    return replace(sinogram, notes=notes)


def _check_values(raw, path: Path) -> np.ndarray:
    raw = np.asarray(raw)
    if raw.dtype.kind not in "iuf":
        raise InputError(f"{path}: a sinogram holds real numbers, not {raw.dtype}: save it as float32")
    if raw.ndim not in (2, 3) or raw.size == 0:
        shapes = "[views, detectors] or [slices, views, detectors]"
        raise InputError(f"{path}: a sinogram is {shapes}, not of shape {list(raw.shape)}: reshape it")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(raw if raw.ndim == 3 else raw[None], dtype=np.float32)
    if values.shape[1] < 8 or values.shape[2] < 16:
        size = f"{values.shape[1]} views of {values.shape[2]} detectors"
        raise InputError(f"{path}: {size} are too few: give at least 8 views of 16 detectors")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: holds NaN or infinite values: fill in bins that counted nothing from their neighbours")
    low, high, mean = float(values.min()), float(values.max()), float(values.mean(dtype=np.float64))
    if low == high:
        raise InputError(f"{path}: every value is {low:g}: there is nothing to reconstruct; check what was saved")
    todo = "are these raw intensities? Take -log(I / I0), with I0 the intensity without a patient"
    if high > MOST:
        raise InputError(f"{path}: values up to {high:g} are no line integrals of attenuation, which stay below {MOST:g}; {todo}")
    if low < LEAST or mean < 0:
        raise InputError(f"{path}: values down to {low:g} (mean {mean:.3g}) are more negative than noise makes them; {todo}")
    edges, middle = np.median(values[..., [0, -1]]), np.median(values[..., values.shape[-1] // 4 : -values.shape[-1] // 4])
    if low >= 0 and high < 1.2 and edges > 0.9 and middle < 0.8 * edges:
        raise InputError(f"{path}: values are near 1 at the detector's ends and lower in its middle; {todo}")
    return values


def _check_angles(facts: Mapping, views: int, arc: float | None, path: Path) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Angles in radians, one a view, and the notes on them."""
    if "angles" not in facts:
        return _spread(views, arc, path)
    raw = _numbers(facts["angles"], "angles must be finite numbers, one a view", path)
    if raw.size != views:
        raise InputError(f"{path}: {raw.size} angles for {views} views: give one a view; the array is [views, detectors]")
    unit, notes = facts.get("angle_unit"), ()
    unit = unit.decode(errors="replace") if isinstance(unit, bytes) else unit
    if unit is None:
        unit, notes = "degree", ("angle_unit is not given: angles in degrees assumed",)
    elif not isinstance(unit, str) or unit not in UNITS:
        raise InputError(f"{path}: angle_unit is not {unit!r}; {nearest(unit, UNITS)}")
    steps, span = np.diff(raw), float(np.ptp(raw))
    if not span:
        raise InputError(f"{path}: all angles are {raw[0]:g}: give the angle of each view")
    if not ((steps > 0).all() or (steps < 0).all()):
        raise InputError(f"{path}: angles must rise, or fall, from view to view: sort the views, and go on past 360 degrees")
    if notes and span <= 2 * math.pi:
        todo = "set angle_unit to 'radian', or to 'degree' if that is right"
        raise InputError(f"{path}: the angles span {span:.3g}, as if in radians: {todo}")
    return tuple(float(a) * UNITS[unit] for a in raw), notes


def _spread(views: int, arc: float | None, path: Path) -> tuple[tuple[float, ...], tuple[str, ...]]:
    if arc is None:
        where = f"{path.with_suffix('.json').name} beside it" if suffix_of(path) == ".npy" else "a dataset"
        todo = f"put 'angles' (degrees, one a view) into {where}, or set arc to the degrees that the views cover evenly"
        raise InputError(f"{path}: no angles: {todo}")
    if not 0 < arc <= 360:
        raise InputError(f"arc={arc:g}: must be above 0 and at most 360 degrees")
    return beams.arc(arc, views), (f"angles are not given: {views} views evenly spaced over {arc:g} degrees from 0 assumed",)


def _length(value, key: str, path: Path) -> float:
    what = f"{key} must be one finite number in mm"
    numbers = _numbers(value, what, path)
    if numbers.size != 1:
        raise InputError(f"{path}: {what}, not {numbers.size}")
    if key != "offset" and not numbers[0] > 0:
        raise InputError(f"{path}: {key} must be positive (mm), not {numbers[0]:g}")
    return float(numbers[0])


def _numbers(value, what: str, path: Path) -> np.ndarray:
    """Finite numbers of any shape as float64 [n]; InputError with `what` for all else."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal length
        array = np.array(None)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise InputError(f"{path}: {what}")
    return array.ravel().astype(np.float64)


def _check_geometry(sinogram: Sinogram, path: Path) -> None:
    half = (sinogram.values.shape[2] - 1) / 2 * sinogram.detector_spacing
    if abs(sinogram.offset) >= half:
        where = f"offset {sinogram.offset:g} mm puts the centre of rotation beyond the detector's end at {half:g} mm"
        raise InputError(f"{path}: {where}: check offset and detector_spacing")
    source, detector = sinogram.source_distance, sinogram.detector_distance
    if (source is None) != (detector is None):
        given, other = LENGTHS[2:4] if detector is None else LENGTHS[3:1:-1]
        raise InputError(f"{path}: {given} without {other}: give both for a fan beam, neither for a parallel beam")
    if source is not None:
        radius = (half + abs(sinogram.offset)) * source / (source + detector)
        if radius >= source:
            where = f"the source, {source:g} mm from the centre, is inside the field of view of {radius:g} mm"
            raise InputError(f"{path}: {where}: check detector_spacing and both distances, in mm")

"""Raw acquisitions in ISMRMRD HDF5 files (Inati et al. 2017): Cartesian lines sorted into k-space [slices, coils, H, W]."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

NOISE, NAVIGATION, CALIBRATION = 1 << 18, 1 << 22, 1 << 19  # flags of lines that are no lines of the image (bit - 1)
SET_ASIDE = NOISE | NAVIGATION | CALIBRATION


def is_ismrmrd(file) -> bool:
    """Whether an open HDF5 file holds acquisitions: dataset/xml and dataset/data."""
    return "dataset" in file and "data" in file["dataset"] and "xml" in file["dataset"]


def read_acquisitions(file, path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """(kspace complex64 [slices, coils, H, W], mask bool [H, W], spacing of slice, row, column in mm) of an open file.

    Lines of several averages are averaged; H runs along the readout, W along the phase encoding, both centred. Raises ValueError
    for another trajectory, 3D encoding, several contrasts, phases or repetitions, and lines that do not fit the header.
    """
    header = ElementTree.fromstring(np.asarray(file["dataset"]["xml"]).ravel()[0])
    encoding = header.find("{*}encoding")
    _check(header, encoding, path)
    matrix = {axis: int(float(encoding.findtext(f"{{*}}encodedSpace/{{*}}matrixSize/{{*}}{axis}"))) for axis in "xyz"}
    view = {axis: float(encoding.findtext(f"{{*}}encodedSpace/{{*}}fieldOfView_mm/{{*}}{axis}")) for axis in "xyz"}
    if matrix["z"] > 1:
        raise ValueError(f"{path}: 3D encoding ({matrix['z']} partitions): transform along them first, and write slices")
    centre = encoding.findtext("{*}encodingLimits/{*}kspace_encoding_step_1/{*}center")
    shift = matrix["y"] // 2 - int(centre) if centre is not None else 0
    rows = file["dataset"]["data"][()]
    heads, lines = rows["head"], rows["data"]
    kept = [k for k in range(len(rows)) if not int(heads[k]["flags"]) & SET_ASIDE]
    if not kept:
        raise ValueError(f"{path}: no line of an image in it")
    _check_counters(heads[kept], path)
    slices = 1 + max(int(heads[k]["idx"]["slice"]) for k in kept)
    coils = int(heads[kept[0]]["active_channels"])
    total = np.zeros((slices, coils, matrix["x"], matrix["y"]), np.complex64)
    count = np.zeros((slices, matrix["y"]), np.int64)
    for k in kept:
        place, line = int(heads[k]["idx"]["kspace_encode_step_1"]) + shift, _line(lines[k], heads[k], coils, matrix["x"], path)
        if not 0 <= place < matrix["y"]:
            raise ValueError(f"{path}: line {place} lies outside the {matrix['y']} lines of the header")
        total[int(heads[k]["idx"]["slice"]), :, :, place] += line
        count[int(heads[k]["idx"]["slice"]), place] += 1
    measured = count > 0
    if (measured != measured[0]).any():
        raise ValueError(f"{path}: slices measure different lines: write each slice to a file of its own")
    kspace = total / np.maximum(count, 1)[:, None, None, :]
    spacing = (view["z"] / matrix["z"], view["x"] / matrix["x"], view["y"] / matrix["y"])
    return kspace.astype(np.complex64), np.broadcast_to(measured[0], (matrix["x"], matrix["y"])), spacing


def _check(header, encoding, path: Path) -> None:
    if encoding is None:
        raise ValueError(f"{path}: its ISMRMRD header names no encoding: write it again")
    if len(header.findall("{*}encoding")) > 1:
        raise ValueError(f"{path}: has several encodings: write the one you want to a file of its own")
    trajectory = encoding.findtext("{*}trajectory")
    if trajectory not in (None, "cartesian"):
        raise ValueError(f"{path}: its trajectory is {trajectory}: only Cartesian k-space is read")


def _check_counters(heads, path: Path) -> None:
    for name in ("contrast", "phase", "repetition", "set"):
        values = {int(head["idx"][name]) for head in heads}
        if len(values) > 1:
            raise ValueError(f"{path}: holds {len(values)} images by {name}: write the one you want to a file of its own")


def _line(values, head, coils: int, length: int, path: Path) -> np.ndarray:
    """One readout [coils, H], at the place of its centre sample."""
    samples = int(head["number_of_samples"])
    line = np.asarray(values, np.float32).view(np.complex64).reshape(-1, samples)
    start = length // 2 - int(head["center_sample"])
    if len(line) != coils or start < 0 or start + samples > length:
        raise ValueError(f"{path}: a line of {len(line)} coils and {samples} samples does not fit {coils} and {length}")
    out = np.zeros((coils, length), np.complex64)
    out[:, start : start + samples] = line
    return out

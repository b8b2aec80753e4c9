"""DICOM series as volumes: which files make one, in which order, and where it lies; `dicom_pixels` decodes.

No patient data leave this module: only modality and series description do, and the ID that `patient_of` gives on demand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffzoo.errors import InputError
from diffzoo.imaging.io.dicom_pixels import padding, pixels, read, rescaled

if TYPE_CHECKING:
    from pydicom import Dataset

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SUFFIXES = (".dcm", ".ima")
POINTER = 1024  # bytes, at the most, of a pointer
POINTERS = (b"/annex/objects/", b"version https://git-lfs")
UNEVEN = 0.05  # a gap may differ from the median gap by this share
Slices = Sequence[tuple[Path, "Dataset"]]


def check_link(path: Path) -> None:
    """InputError for a link that leads nowhere, and for a pointer in place of content: git-annex, datalad and LFS leave such."""
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: is a link to a file that is not there: fetch it first (git annex get, datalad get)")
    if path.is_file() and path.stat().st_size < POINTER and path.read_bytes().startswith(POINTERS):
        raise InputError(f"{path}: is a pointer to a file that is not there: fetch it first (git annex get, git lfs pull)")


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark at byte 128, or a DICOM suffix (old files lack the mark)."""
    if not path.is_file() or path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def has_dicom(folder: Path) -> bool:
    """Whether a folder directly holds DICOM files."""
    return any(is_dicom(path) for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def read_series(path: str | Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Volume [columns, rows, slices] float32 in rescaled units, affine [4, 4] (RAS+ world, mm), and header facts.

    path is one series folder or one file; slices are sorted by position along the normal. Facts: dtype (as stored), modality,
    series_description, warnings. Copies of a slice are passed over, and slices with a series UID each are stacked, both with a
    warning. Raises InputError for mixed series, missing or doubled slices, unlike sizes or orientations,
    mosaic, multi-frame, colour, and pixels that cannot be decoded.
    """
    path = Path(path)
    slices = _headers([path] if path.is_file() else sorted(path.iterdir()))
    if not slices:
        raise InputError(f"{path}: holds no DICOM images: pass a file or folder of one image series")
    warnings: list[str] = []
    slices = _without_copies(slices, warnings)
    _check_series(path, slices, warnings)
    _check_kind(path, slices)
    _check_alike(path, slices)
    if len(slices) == 1 and "ImagePositionPatient" not in slices[0][1]:
        affine = _picture_affine(slices[0][1], warnings)
    else:
        slices = _sorted(path, slices)
        affine = _affine(path, slices, warnings)
    planes = [pixels(file, header) for file, header in slices]
    head = slices[0][1]
    if head.get("PhotometricInterpretation") == "MONOCHROME1":
        warnings.append("stored with inverted grey values (MONOCHROME1): inverted back, so that bright is dense")
    facts = {
        "dtype": str(planes[0].dtype),
        "modality": str(head.get("Modality", "")),
        "series_description": str(head.get("SeriesDescription", "")),
        "warnings": warnings,
    }
    pairs = [(plane, header) for plane, (_, header) in zip(planes, slices, strict=True)]
    volume = np.stack([rescaled(*pair) for pair in pairs], axis=-1)
    blank = np.stack([padding(*pair) for pair in pairs], axis=-1)
    if blank.any() and not blank.all():
        volume[blank] = volume[~blank].min()
        warnings.append(f"{int(blank.sum())} voxels are padding, as the header tells: taken as the least of the others")
    return volume.transpose(1, 0, 2), affine, facts


def patient_of(path: Path) -> str | None:
    """The patient's ID that a DICOM file tells, None where it has none or cannot be read."""
    try:
        return str(read(path, stop_before_pixels=True).get("PatientID", "")) or None
    except Exception:  # a broken file makes the parser raise anything; the reader tells of it later
        return None


def _headers(paths: Sequence[Path]) -> Slices:
    slices = []
    for path in paths:
        if path.name.startswith("."):
            continue
        check_link(path)
        if not is_dicom(path):
            continue
        try:
            header = read(path, stop_before_pixels=True)
        except Exception as error:  # a damaged file makes the parser raise anything
            raise InputError(f"{path}: is named or marked as DICOM and cannot be read: copy it again, or take it out") from error
        if "Rows" in header and "Columns" in header:
            slices.append((path, header))
        elif not _of_no_image(header):
            raise InputError(f"{path}: is named or marked as DICOM and holds no picture: copy it again, or take it out")
    return slices


def _of_no_image(header: "Dataset") -> bool:
    """Whether a header says that it is that of a report, a structure or a directory; one that was cut short may not say so."""
    kinds = [header.file_meta.get("MediaStorageSOPClassUID"), header.get("SOPClassUID")]
    names = [kind.name for kind in kinds if kind]
    return bool(names) and not any("Image Storage" in name for name in names)


def _without_copies(slices: Slices, warnings: list[str]) -> Slices:
    """Slices less those that are another one again: equal SOPInstanceUID, place and pixels."""
    kept: dict[tuple, tuple[Path, Dataset]] = {}
    copies = []
    for file, header in slices:
        key = (str(header.get("SOPInstanceUID") or file), str(header.get("ImagePositionPatient", "")))
        first = kept.setdefault(key, (file, header))
        if first[0] == file:
            continue
        if np.array_equal(pixels(*first), pixels(file, header)):
            copies.append(file.name)
        else:
            kept[(*key, file)] = (file, header)
    if copies:
        warnings.append(f"{len(copies)} copies of slices were passed over (equal SOPInstanceUID), the first {copies[0]}")
    return list(kept.values())


def _is_stack(path: Path, slices: Slices) -> bool:
    """Whether slices that have a series UID each are one stack: of one study and kind, side by side at even distances."""
    studies = {tuple(str(header.get(tag, "")) for tag in ("StudyInstanceUID", "Modality")) for _, header in slices}
    try:
        _check_alike(path, slices)
        _sorted(path, slices)
    except InputError:
        return False
    return len(studies) == 1 and len(slices) > 2


def _check_series(path: Path, slices: Slices, warnings: list[str]) -> None:
    series: dict[str, list] = {}
    for file, header in slices:
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((file, header))
    if len(series) == len(slices) and _is_stack(path, slices):
        warnings.append("every slice has a series UID of its own: stacked by their places")
    elif len(series) > 1:
        shown = [
            f"{head.get('SeriesNumber', '?')} '{head.get('SeriesDescription', '')}' ({len(group)} files from {file.name})"
            for group in series.values()
            for file, head in group[:1]
        ]
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        raise InputError(
            f"{path}: holds {len(series)} series: {', '.join(shown[:8])}{more}; move the one you want to a folder of its own"
        )


def _check_kind(path: Path, slices: Slices) -> None:
    for _, header in slices:
        if "MOSAIC" in (header.get("ImageType") or ()):
            raise InputError(f"{path}: is a Siemens mosaic (many slices in one picture): convert it to NIfTI with dcm2niix")
        if int(header.get("NumberOfFrames") or 1) > 1 or "SharedFunctionalGroupsSequence" in header:
            raise InputError(f"{path}: is multi-frame (enhanced) DICOM: convert it to NIfTI with dcm2niix")
        if int(header.get("SamplesPerPixel", 1)) != 1 or header.get("PhotometricInterpretation") == "PALETTE COLOR":
            raise InputError(f"{path}: is a colour picture, not a grey image: pass a series of grey images")


def _check_alike(path: Path, slices: Slices) -> None:
    first, head = slices[0]
    for file, header in slices[1:]:
        if (header.Rows, header.Columns) != (head.Rows, head.Columns):
            raise InputError(
                f"{path}: pictures differ in size, {head.Columns} x {head.Rows} in {first.name} and "
                f"{header.Columns} x {header.Rows} in {file.name}: keep one series of one size"
            )
        for tag, word in (("ImageOrientationPatient", "orientation"), ("PixelSpacing", "pixel spacing")):
            here, there = header.get(tag), head.get(tag)
            if here and there and not np.allclose(np.array(here, float), np.array(there, float), rtol=1e-3, atol=1e-3):
                raise InputError(f"{path}: {word} differs between {first.name} and {file.name}: keep slices of one stack")


def _axes(header: "Dataset") -> np.ndarray:
    # unit vectors [3, 3] in LPS: along a row (columns grow), down a column (rows grow), and the normal of the slice
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)])
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _sorted(path: Path, slices: Slices) -> Slices:
    for file, header in slices:
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            if not header.get(tag):
                raise InputError(f"{path}: {file.name} has no {tag}, so its place is unknown: convert the series to NIfTI")
    normal = _axes(slices[0][1])[2]
    slices = sorted(slices, key=lambda item: float(normal @ np.array(item[1].ImagePositionPatient, float)))
    places = np.array([item[1].ImagePositionPatient for item in slices], float) @ normal
    gaps = np.diff(places)
    if len(gaps) and gaps.min() < 1e-3:
        twins = int(np.sum(np.abs(places - places[int(gaps.argmin())]) < 1e-3))
        raise InputError(f"{path}: has {twins} images at one place (time, echo or diffusion): keep one volume in the folder")
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    for i, gap in enumerate(gaps):
        if abs(gap - usual) > UNEVEN * usual:
            raise InputError(
                f"{path}: slices are missing or uneven, {gap:.4g} mm between {slices[i][0].name} and {slices[i + 1][0].name} "
                f"where {usual:.4g} mm is usual: pass the complete series"
            )
    return slices


def _affine(path: Path, slices: Slices, warnings: list[str]) -> np.ndarray:
    head = slices[0][1]
    row, column, normal = _axes(head)
    places = np.array([header.ImagePositionPatient for _, header in slices], float)
    if len(slices) > 1:
        step = (places[-1] - places[0]) / (len(slices) - 1)
        stray = np.abs(places - places[0] - np.arange(len(slices))[:, None] * step).max()
        if stray > max(0.1, UNEVEN * float(np.linalg.norm(step))):
            raise InputError(f"{path}: slices do not lie on a line ({stray:.3g} mm off): keep slices of one stack")
        if normal @ step < 0.9998 * np.linalg.norm(step):  # over about 1 degree
            warnings.append("slices are not square to their stack (gantry tilt): the affine is sheared")
    else:
        thickness = head.get("SpacingBetweenSlices") or head.get("SliceThickness")
        if not thickness:
            warnings.append("slice thickness is not stated: 1 mm assumed")
        step = normal * abs(float(thickness or 1.0))
    down, across = (float(s) for s in head.PixelSpacing)  # between rows, between columns
    affine = np.eye(4)
    affine[:3] = np.stack([row * across, column * down, step, places[0]], axis=1)
    return LPS_TO_RAS @ affine


def _picture_affine(header: "Dataset", warnings: list[str]) -> np.ndarray:
    # plain films have no place in the patient: shown as an axial slice, so that a display puts them upright
    size = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    warnings.append("position and orientation are not stated" + ("" if size else ", nor the pixel spacing: 1 mm assumed"))
    down, across = (float(s) for s in size) if size else (1.0, 1.0)
    return LPS_TO_RAS @ np.diag([across, down, 1.0, 1.0])

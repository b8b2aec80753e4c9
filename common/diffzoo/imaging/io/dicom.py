"""DICOM series as volumes: pydicom reads headers and pixels, SimpleITK the compressed pixels that pydicom cannot.

No patient data leave this module: only modality and series description do, and the ID that `patient_of` gives on demand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffzoo.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SUFFIXES = (".dcm", ".ima")
UNEVEN = 0.05  # a gap may differ from the median gap by this share
Slices = Sequence[tuple[Path, "Dataset"]]


def check_link(path: Path) -> None:
    """InputError for a link that leads nowhere: git-annex and datalad leave such until the content is fetched."""
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path}: is a link to a file that is not there: fetch it first (git annex get, datalad get)")


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
    series_description, warnings. Raises InputError for mixed series, missing or doubled slices, unlike sizes or orientations,
    mosaic, multi-frame, colour, and pixels that cannot be decoded.
    """
    path = Path(path)
    slices = _headers([path] if path.is_file() else sorted(path.iterdir()))
    if not slices:
        raise InputError(f"{path}: holds no DICOM images: pass a file or folder of one image series")
    _check_series(path, slices)
    _check_kind(path, slices)
    _check_alike(path, slices)
    warnings: list[str] = []
    if len(slices) == 1 and "ImagePositionPatient" not in slices[0][1]:
        affine = _picture_affine(slices[0][1], warnings)
    else:
        slices = _sorted(path, slices)
        affine = _affine(path, slices, warnings)
    planes = [_pixels(file, header) for file, header in slices]
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
    volume = np.stack([_rescaled(*pair) for pair in pairs], axis=-1)
    padding = np.stack([_padding(*pair) for pair in pairs], axis=-1)
    if padding.any() and not padding.all():
        volume[padding] = volume[~padding].min()
        warnings.append(f"{int(padding.sum())} voxels are padding, as the header tells: taken as the least of the others")
    return volume.transpose(1, 0, 2), affine, facts


def patient_of(path: Path) -> str | None:
    """The patient's ID that a DICOM file tells, None where it has none or cannot be read."""
    try:
        return str(_read(path, stop_before_pixels=True).get("PatientID", "")) or None
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
            header = _read(path, stop_before_pixels=True)
        except Exception as error:  # a file that only looks like DICOM makes the parser raise anything
            if path.suffix.lower() not in SUFFIXES:
                continue
            raise InputError(f"{path}: has a DICOM name and cannot be read: copy it again, or take it out") from error
        if path.suffix.lower() in SUFFIXES and not len(header):
            raise InputError(f"{path}: has a DICOM name and holds no DICOM: copy it again, or take it out")
        if "Rows" in header and "Columns" in header:  # reports, structures and directories have no picture
            slices.append((path, header))
    return slices


def _read(path: Path, stop_before_pixels: bool) -> "Dataset":
    # old files have neither the mark nor a transfer syntax: then it is what the parser found
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    data = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=True)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def _check_series(path: Path, slices: Slices) -> None:
    series: dict[str, list] = {}
    for file, header in slices:
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((file, header))
    if len(series) > 1:
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


def _pixels(file: Path, header: "Dataset") -> np.ndarray:
    # stored values [rows, columns]; values that SimpleITK decodes are rescaled already, `_rescaled` knows by the syntax
    try:
        if _through_itk(header):
            import SimpleITK as sitk

            return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0]
        return _read(file, stop_before_pixels=False).pixel_array
    except Exception as error:  # decoders raise anything; the first line tells a person enough
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{file}: pixels cannot be read ({reason}): decompress it (gdcmconv --raw) or copy it again") from error


def _through_itk(header: "Dataset") -> bool:
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return syntax is not None and syntax.is_compressed and "RLE" not in syntax.name and "Deflated" not in syntax.name


def _rescaled(plane: np.ndarray, header: "Dataset") -> np.ndarray:
    """Values in rescaled units, bright where dense; ITK has rescaled and inverted already."""
    from pydicom.pixels import apply_modality_lut

    values = plane if _through_itk(header) else apply_modality_lut(plane, header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1" and not _through_itk(header):
        top = -1 if int(header.get("PixelRepresentation", 0)) else 2 ** int(header.BitsStored) - 1  # lowest + highest stored
        slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
        values = slope * top + 2 * intercept - values.astype(np.float64)
    return values.astype(np.float32)


def _padding(plane: np.ndarray, header: "Dataset") -> np.ndarray:
    """Where a plane holds PixelPaddingValue, or a value up to PixelPaddingRangeLimit; bool [rows, columns]."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(plane.shape, bool)
    bits = int(header.get("BitsAllocated", 16))
    ends = [_stored(value, header, bits), _stored(header.get("PixelPaddingRangeLimit", value), header, bits)]
    if _through_itk(header):  # its values are rescaled, and inverted where low is dense
        slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
        if header.get("PhotometricInterpretation") == "MONOCHROME1":
            top = -1 if int(header.get("PixelRepresentation", 0)) else 2 ** int(header.BitsStored) - 1
            ends = [top - end for end in ends]
        ends = [slope * end + intercept for end in ends]
    return (plane >= min(ends)) & (plane <= max(ends))


def _stored(value, header: "Dataset", bits: int) -> int:
    """A padding value in the sign of the pixels: writers give 63536 for -2000, or the other way round."""
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    signed = int(header.get("PixelRepresentation", 0)) == 1
    if signed and number >= 2 ** (bits - 1):
        return number - 2**bits
    return number + 2**bits if not signed and number < 0 else number

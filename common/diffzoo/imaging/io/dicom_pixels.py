"""One decoder of DICOM pixels: sign, rescaling, inverted grey values and padding, whatever the transfer syntax.

pydicom decodes what it can, SimpleITK the compressed pixels that pydicom cannot.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffzoo.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset


def read(path: Path, stop_before_pixels: bool) -> "Dataset":
    """A DICOM file; old ones have neither the mark nor a transfer syntax: then it is what the parser found."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    data = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=True)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def pixels(file: Path, header: "Dataset") -> np.ndarray:
    """Values [rows, columns] as stored; those that SimpleITK decodes are rescaled already, `rescaled` knows by the syntax.

    Raises InputError for what no decoder reads.
    """
    try:
        if _through_itk(header):
            import SimpleITK as sitk

            return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0]
        return read(file, stop_before_pixels=False).pixel_array
    except Exception as error:  # decoders raise anything; the first line tells a person enough
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{file}: pixels cannot be read ({reason}): decompress it (gdcmconv --raw) or copy it again") from error


def _through_itk(header: "Dataset") -> bool:
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    return syntax is not None and syntax.is_compressed and "RLE" not in syntax.name and "Deflated" not in syntax.name


def rescaled(plane: np.ndarray, header: "Dataset") -> np.ndarray:
    """Values in rescaled units, bright where dense; ITK has rescaled and inverted already."""
    from pydicom.pixels import apply_modality_lut

    values = plane if _through_itk(header) else apply_modality_lut(plane, header)
    if header.get("PhotometricInterpretation") == "MONOCHROME1" and not _through_itk(header):
        top = -1 if int(header.get("PixelRepresentation", 0)) else 2 ** int(header.BitsStored) - 1  # lowest + highest stored
        slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
        values = slope * top + 2 * intercept - values.astype(np.float64)
    return values.astype(np.float32)


def padding(plane: np.ndarray, header: "Dataset") -> np.ndarray:
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

"""One reader and one writer for each file format; `files` chooses among them and checks what they give."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffzoo.errors import InputError
from diffzoo.imaging.io import dicom

LPS_TO_RAS = dicom.LPS_TO_RAS
PICTURE = np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # rows go to P, columns to L: upright as axial
HAIR = 1e-3  # by which a quaternion may be longer than 1
UNITS = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}  # NIfTI codes of lengths not in mm


def _one_volume(path: Path, array: np.ndarray) -> np.ndarray:
    # [1, X, Y, Z] from 2 to 3 axes, or more where those beyond the third have length 1
    shape = array.shape
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 3:
        raise InputError(f"{path}: has {len(shape)} dimensions (time or channels), shape {list(shape)}: pick one volume")
    if array.ndim < 2:
        raise InputError(f"{path}: has {array.ndim} dimension, not an image")
    return array.reshape(1, *array.shape, *[1] * (3 - array.ndim)).astype(np.float32, copy=False)


def read_nifti(path: Path, color: bool, frame: int | None = None) -> tuple[np.ndarray, np.ndarray, dict]:
    """NIfTI as (volume [1, X, Y, Z] float32 with slope and intercept applied, affine, facts); InputError for RGB and complex.

    Of several volumes the one of number `frame`; InputError for 4D without one, and for a number beyond.
    """
    import zlib

    import nibabel as nib

    try:
        image = _nifti(path)
        dtype = image.get_data_dtype()
        if dtype.fields or dtype.kind == "c":
            kind = "complex" if dtype.kind == "c" else "colour (RGB)"
            raise InputError(f"{path}: holds {kind} values: save one real volume, such as the magnitude")
        array = _values(path, image, frame)
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: is cut short or damaged: copy or download it again") from error
    except InputError:
        raise
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, OSError, ValueError, OverflowError) as error:
        cut = isinstance(error, OSError) and any(word in str(error) for word in ("bytes", "CRC", "length"))
        what = "is cut short or damaged" if cut else "is not a readable NIfTI file"
        raise InputError(f"{path}: {what}: copy or download it again") from error
    header, warnings = image.header, []
    codes = {"sform_code": int(header["sform_code"]), "qform_code": int(header["qform_code"])}
    affine = _placed(image, codes, warnings)
    name, unit = UNITS.get(int(header["xyzt_units"]) & 7, ("mm", 1.0))
    if unit != 1.0:
        warnings.append(f"lengths are stored in {name}: changed to mm")
    affine = np.diag([unit, unit, unit, 1.0]) @ affine
    facts = {"shape": tuple(image.shape), "dtype": str(dtype), "warnings": warnings, **codes}
    return _one_volume(path, array), affine, facts


def read_stored(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """(values as stored, of any number of axes, affine [4, 4], stored type) of a NIfTI; InputError where it cannot be read."""
    import nibabel as nib

    try:
        image = _nifti(Path(path))
        return np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=np.float64), image.get_data_dtype()
    except (OSError, ValueError, EOFError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path}: is not a readable NIfTI file: copy it again") from error


def _nifti(path: Path):
    """The image of a NIfTI file, read to its end where it is compressed; gzip is told by the first bytes, not by the name."""
    import gzip

    import nibabel as nib

    with open(path, "rb") as stream:
        packed, named = stream.read(2) == b"\x1f\x8b", path.name.lower().endswith(".gz")
    if packed and named:
        with gzip.open(path) as stream:  # to the end: only there is the checksum
            while stream.read(1 << 20):
                pass
    if packed == named:
        try:
            return nib.load(path)
        except ValueError as error:
            if "w2" not in str(error):  # what nibabel says of a quaternion that is longer than 1
                raise
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    second = 540 in (int.from_bytes(content[:4], order) for order in ("little", "big"))  # bytes of its header
    return (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(_unit_quaternion(content, second))


def _unit_quaternion(content: bytes, second: bool) -> bytes:
    """The content of a NIfTI file whose quaternion is at most 1 long, where rounding made it a hair longer."""
    import nibabel as nib

    kind, size = (nib.Nifti2Header, 540) if second else (nib.Nifti1Header, 348)
    if len(content) < size:
        raise EOFError("shorter than its header")
    header = kind(content[:size], check=False)
    length = float(np.linalg.norm([float(header[f"quatern_{axis}"]) for axis in "bcd"]))
    if not 1 < length < 1 + HAIR:
        return content
    for axis in "bcd":
        header[f"quatern_{axis}"] = float(header[f"quatern_{axis}"]) / length * (1 - 1e-7)
    return header.binaryblock + content[size:]


def _values(path: Path, image, frame: int | None) -> np.ndarray:
    """The voxels, of one frame where a number is given."""
    if 0 in image.shape:
        return np.zeros(image.shape)
    if frame is None:
        return image.get_fdata(dtype=np.float32, caching="unchanged")
    count = image.shape[3] if len(image.shape) == 4 else 1
    if not 0 <= frame < count or len(image.shape) > 4:
        raise InputError(f"{path}: has the frames 0 to {count - 1}, not {frame}")
    return np.array(image.dataobj[..., frame] if len(image.shape) == 4 else image.dataobj, dtype=np.float32)


def _placed(image, codes: Mapping[str, int], warnings: list[str]) -> np.ndarray:
    """The affine of a NIfTI file: its sform, its qform where the sform is empty; warns where neither or both tell otherwise."""
    affine = np.asarray(image.affine, dtype=np.float64)
    if not any(codes.values()):
        warnings.append("the header has no sform or qform: geometry taken from the voxel size, orientation unknown")
        return affine
    if codes["qform_code"] == 0 or codes["sform_code"] == 0:
        return affine
    with np.errstate(invalid="ignore"):
        other = np.asarray(image.header.get_qform(), dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        warnings.append("the sform is empty: geometry taken from the qform")
        return other
    corners = np.array(np.meshgrid(*([0, n - 1] for n in image.shape[:3]), [1])).reshape(4, -1)
    apart = np.linalg.norm(((affine - other) @ corners)[:3], axis=0).max()
    if apart > np.linalg.norm(affine[:3, :3], axis=0).min():
        warnings.append(f"sform and qform disagree by up to {apart:.3g} mm: the sform is taken; check which one is right")
    return affine


def read_itk(path: Path, color: bool) -> tuple[np.ndarray, np.ndarray, dict]:
    """NRRD or MHA as (volume [1, X, Y, Z] float32, affine, facts), turned from LPS to RAS; InputError for 4D and vectors."""
    import SimpleITK as sitk

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "determinant" in str(error):
            raise InputError(f"{path}: the directions of its axes are singular: repair the header") from error
        raise InputError(f"{path}: is cut short, damaged or not a {path.suffix} image: copy or download it again") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path}: holds {image.GetNumberOfComponentsPerPixel()} values a voxel (colour, vector or complex)")
    array, dim = sitk.GetArrayFromImage(image).T, image.GetDimension()
    volume = _one_volume(path, array)
    affine = np.eye(4)
    used = min(dim, 3)
    axes = np.array(image.GetDirection()).reshape(dim, dim) * np.array(image.GetSpacing())
    affine[:used, :used], affine[:used, 3] = axes[:used, :used], np.array(image.GetOrigin())[:used]
    warnings = []
    if path.suffix.lower() in (".nrrd", ".nhdr") and "NRRD_space" not in image.GetMetaDataKeys():
        warnings.append("the header names no space: orientation unknown, taken as LPS")
    return volume, LPS_TO_RAS @ affine, {"shape": array.shape, "dtype": str(array.dtype), "warnings": warnings}


def read_picture(path: Path, color: bool) -> tuple[np.ndarray, np.ndarray, dict]:
    """PNG or JPEG as (picture [1, H, W, 1], or [3, H, W, 1] with `color`, affine, facts); InputError for unasked colour."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: is cut short, damaged or not a picture: copy it again") from error
    if picture.mode in ("1", "LA", "I;16B"):
        picture = picture.convert({"I;16B": "I"}.get(picture.mode, "L"))
    array = np.asarray(picture)
    if array.ndim == 3 or picture.mode == "P":
        array = np.asarray(picture.convert("RGB"))
        if not color and np.ptp(array, axis=-1).any():
            raise InputError(f"{path}: is a colour picture, a grey one is needed: convert it to grey")
        array = array if color else array[..., 0]
    planes = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    facts = {"shape": array.shape, "dtype": str(array.dtype), "warnings": ["a picture has no pixel size: 1 mm assumed"]}
    return planes[..., None].astype(np.float32), PICTURE.copy(), facts


def read_dicom(path: Path, color: bool) -> tuple[np.ndarray, np.ndarray, dict]:
    """One DICOM series or file as (volume [1, X, Y, Z] float32, affine, facts)."""
    try:
        array, affine, facts = dicom.read_series(path)
    except InputError:
        raise
    except Exception as error:  # a damaged header makes the parser of its values raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{path}: the DICOM header is damaged ({reason}): copy it again or convert it to NIfTI") from error
    return array[None], affine, {"shape": array.shape, **facts}


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray, source: Mapping) -> None:
    """Writes array [X, Y, Z] with sform and qform; a code that `source` has is kept, mm are stated."""
    import nibabel as nib

    image = nib.Nifti1Image(array, affine)
    code = int(source.get("sform_code", 1) or source.get("qform_code", 1))
    if code == 0 and not np.allclose(image.header.get_base_affine(), affine):
        code = 1  # moved since: without a code other programs would place it by its size alone
    image.set_sform(affine, code)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    sheared = np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3  # a quaternion cannot hold it; less is rounding
    image.set_qform(None if sheared else affine, 0 if sheared else code)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def write_itk(path: Path, array: np.ndarray, affine: np.ndarray, source: Mapping) -> None:
    """Writes array [X, Y, Z] as NRRD or MHA, its affine turned to LPS."""
    import SimpleITK as sitk

    matrix = LPS_TO_RAS @ affine
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(sizes.tolist())
    image.SetDirection((matrix[:3, :3] / sizes).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=True)


def write_png(path: Path, array: np.ndarray, affine: np.ndarray, source: Mapping) -> None:
    """Writes array [H, W, 1] of 8 or 16 bits; the affine is lost."""
    from PIL import Image

    Image.fromarray(array[..., 0]).save(path, optimize=True)

"""Valid inputs of every kind that a bundle reads, and mutations of their bytes: what `fuzz.py` hands to the commands."""

import gzip
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from diffzoo.imaging.io.kspace import write_simulated
from diffzoo.imaging.phantoms.volumes import sample

SIZE = (40, 36, 3)
HEADER = 400  # bytes at the beginning that are mutated more often
VALUES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
FLOATS = (float("nan"), float("inf"), -1e30, 1e-30, -1.0, 0.0)
Maker = Callable[[random.Random, Path], Path]


def valid_inputs(folder: Path) -> dict[str, Maker]:
    """By kind a function (random numbers, folder) -> a mutated input in that folder; the valid ones are written into `folder`."""
    folder.mkdir(parents=True)
    volume = 900 * sample("slab", SIZE, np.eye(4)) / np.max(sample("slab", SIZE, np.eye(4)))
    nib.save(nib.Nifti1Image(volume.astype(np.float32), np.diag([1.0, 1.1, 4.0, 1.0])), folder / "scan.nii")
    Image.fromarray((volume[..., 1] / 900 * 255).astype(np.uint8)).save(folder / "scan.png")
    write_simulated(folder / "scan.h5", np.moveaxis(volume, 2, 0) / 900, coils=2, noise_sd=0.01)
    series(folder / "series", volume)
    words = "text of no meaning, so that not every mutation is of the structure. " * 6
    listing = {"description": words, "test": [{"image": "../valid/scan.nii", "subject": "a"}, {"image": "../valid/scan.png"}]}
    (folder / "list.json").write_text(json.dumps(listing), encoding="utf-8")
    kinds = {"nifti": "scan.nii", "png": "scan.png", "hdf5": "scan.h5", "datalist": "list.json"}
    contents = {kind: ((folder / name).read_bytes(), name) for kind, name in kinds.items()}
    makers = {kind: _file_maker(*content) for kind, content in contents.items()}
    return makers | {"gzip": _gzip_maker(contents["nifti"][0]), "dicom": _series_maker(folder / "series")}


def series(folder: Path, volume: np.ndarray) -> None:
    """Writes a volume [X, Y, Z] as an uncompressed MR series."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir()
    for k in range(volume.shape[2]):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID, data.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.3.{k + 1}"
        data.SOPClassUID, data.SeriesInstanceUID, data.Modality = MRImageStorage, "1.2.3", "MR"
        data.PatientID, data.InstanceNumber = "nobody", k + 1
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-20, -18, 4 * k]
        data.PixelSpacing, data.SliceThickness = [1.1, 1.0], 4
        data.Columns, data.Rows = volume.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelData = volume[..., k].T.astype(np.uint16).tobytes()
        data.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def _file_maker(content: bytes, name: str) -> Maker:
    def make(rng: random.Random, place: Path) -> Path:
        data = mutated(rng, content)
        if name.endswith(".png") and rng.random() < 0.5:
            data = _with_checksum(data)
        (place / name).write_bytes(data)
        return place / name

    return make


def _gzip_maker(content: bytes) -> Maker:
    def make(rng: random.Random, place: Path) -> Path:
        inner = rng.random() < 0.5
        data = gzip.compress(mutated(rng, content) if inner else content, mtime=0)
        (place / "scan.nii.gz").write_bytes(data if inner else mutated(rng, data))
        return place / "scan.nii.gz"

    return make


def _series_maker(folder: Path) -> Maker:
    def make(rng: random.Random, place: Path) -> Path:
        shutil.copytree(folder, place / "series")
        changed = rng.choice(sorted((place / "series").iterdir()))
        changed.write_bytes(mutated(rng, changed.read_bytes(), start=132))
        return place / "series"

    return make


def mutated(rng: random.Random, content: bytes, start: int = 0) -> bytes:
    """The content with one to three mutations, most of them in its header, which ends `HEADER` bytes after `start`."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        if data:
            rng.choice((_flip, _flip, _cut, _field, _field, _field, _float, _chunk))(rng, data, start)
    return bytes(data)


def _place(rng: random.Random, data: bytearray, start: int) -> int:
    end = len(data) if rng.random() < 0.25 else min(len(data), start + HEADER)
    return rng.randrange(min(start, end - 1), end)


def _flip(rng: random.Random, data: bytearray, start: int) -> None:
    for _ in range(rng.randint(1, 8)):
        data[_place(rng, data, start)] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, data: bytearray, start: int) -> None:
    del data[rng.choice((_place(rng, data, start), len(data) - rng.randint(1, 64), rng.randrange(len(data)))) :]


def _field(rng: random.Random, data: bytearray, start: int) -> None:
    """A whole number of 1, 2 or 4 bytes: sizes, codes, offsets, lengths."""
    place, width = _place(rng, data, start), rng.choice((1, 2, 2, 4))
    value = rng.choice((*VALUES, rng.getrandbits(32))) & (256**width - 1)
    data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))[: max(0, len(data) - place)]


def _float(rng: random.Random, data: bytearray, start: int) -> None:
    place = _place(rng, data, start) // 4 * 4
    data[place : place + 4] = struct.pack("<f", rng.choice(FLOATS))[: max(0, len(data) - place)]


def _chunk(rng: random.Random, data: bytearray, start: int) -> None:
    """Bytes that are there twice, or not at all."""
    place, length = _place(rng, data, start), rng.randint(1, 64)
    if rng.random() < 0.5:
        data[place:place] = data[place : place + length]
    else:
        del data[place : place + length]


def _with_checksum(data: bytes) -> bytes:
    """A PNG whose first chunk has the checksum of what it now holds, so that its sizes are believed."""
    return data[:29] + zlib.crc32(data[12:29]).to_bytes(4, "big") + data[33:] if len(data) > 33 else data

"""DICOM slices made here."""

from types import SimpleNamespace

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT = "Doe^Jane^Secret"
AXIAL = SimpleNamespace(row=(1, 0, 0), column=(0, 1, 0), origin=(-10, -20, 30), size=(2.0, 0.5), step=3.0)  # size: down, across


def plane(index, shape=(4, 5)):
    """Stored values [rows, columns], different in every voxel of a series."""
    return (100 * index + np.arange(np.prod(shape)).reshape(shape)).astype(np.uint16)


def dataset(index=0, place=AXIAL, pixels=None, uid="1.2.3", **tags):
    """Slice `index` of a series; a tag given as None is left out."""
    pixels = plane(index) if pixels is None else pixels
    row, column = np.array(place.row, float), np.array(place.column, float)
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate = PATIENT, "ID4711", "19700101"
    data.SeriesInstanceUID, data.SeriesNumber, data.SeriesDescription = uid, 7, "t1 axial"
    data.Modality, data.InstanceNumber = "CT", index + 1
    data.ImageOrientationPatient = [float(f"{v:.12f}") for v in (*row, *column)]
    data.ImagePositionPatient = [float(f"{v:.9f}") for v in np.array(place.origin) + index * place.step * np.cross(row, column)]
    data.PixelSpacing, data.SliceThickness = [float(f"{s:.9f}") for s in place.size], place.step
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for tag, value in tags.items():
        delattr(data, tag) if value is None else setattr(data, tag, value)
    return data


def save(folder, *datasets, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(datasets):
        data.save_as(folder / (names[i] if names else f"{i}.dcm"), enforce_file_format=True)
    return folder

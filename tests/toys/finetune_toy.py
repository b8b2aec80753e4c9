"""Small scans to fine-tune on."""

import nibabel as nib
import numpy as np
from anatomy import anatomy

SIZES = np.diag([1.0, 1.0, 1.5, 1.0])


def write_scan(path, seed=0, shape=(48, 44, 2), shift=0.0):
    """Writes a volume of its own anatomy, of two slices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(anatomy(shape, seed) + np.float32(shift), SIZES), path)
    return path


def write_mask(path, shape=(48, 44, 2)):
    """Writes a label with one small lesion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.zeros(shape, np.uint8)
    label[20:24, 20:24] = 1
    nib.save(nib.Nifti1Image(label, SIZES), path)
    return path


def folder_of(folder, count=4):
    """A folder of so many scans, each of a person whose name is in the file's."""
    for k in range(count):
        write_scan(folder / f"miller{k}_t1.nii.gz", k)
    return folder

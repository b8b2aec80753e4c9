"""What the tests of files share: numbers, affines, and a way to write and to be refused."""

import nibabel as nib
import numpy as np
import pytest

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import read_volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def rotation(x, y, z):
    """Rotation [3, 3] by three angles in radians about the three axes."""
    turn = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        step, (i, j) = np.eye(3), [k for k in range(3) if k != axis]
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def affine_of(matrix=None, sizes=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if matrix is None else matrix) * np.asarray(sizes)
    affine[:3, 3] = origin
    return affine


def refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    said = message.removeprefix(str(path))  # the test's own name is in the path
    assert all(word in said for word in words), message
    return said


def saved(path, array=NUMBERS, affine=None, **header):
    image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path

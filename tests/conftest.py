"""Fixtures that more than one room uses: small scans, made here."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests are many small computations

import nibabel as nib
import numpy as np
import pytest


def anatomy(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A head-like magnitude volume [X, Y, Z] in [0, 900]: a bright shell, sloping tissue, dark holes; like none of its flips."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (0.3 * z) ** 2)
    tissue = 0.5 + 0.25 * x + 0.2 * y + 0.1 * z + 0.1 * np.sin(6 * x + 1) * np.cos(5 * y)
    image = np.where(radius < 0.8, tissue, 0.0) + 0.9 * ((radius > 0.85) & (radius < 0.97))
    for centre in rng.uniform(-0.4, 0.4, (3, 2)):
        image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 0.015] = 0.2
    return (900 * np.clip(image, 0, 1)).astype(np.float32)


@pytest.fixture(scope="session")
def volume():
    """`anatomy` itself: volume(shape, seed) -> array [X, Y, Z]."""
    return anatomy


@pytest.fixture
def nifti(tmp_path):
    """nifti(array, affine, name) writes a NIfTI file into the test's folder and returns its path."""

    def write(array, affine=None, name="scan.nii.gz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture(scope="session")
def head():
    """Two central slices of a real head where nilearn is installed (the ICBM 152 template), else simulated: a NIfTI image."""
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError:
        return nib.Nifti1Image(anatomy((181, 217, 2)), np.eye(4))
    template = load_mni152_template(resolution=1)
    middle = template.shape[2] // 2
    return nib.Nifti1Image(
        np.float32(1000 * template.get_fdata()[:, :, middle : middle + 2]), template.slicer[:, :, middle:].affine
    )

"""Fixtures that more than one room uses: small scans, made here, and a home with one installed bundle."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the tests are many small computations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from anatomy import anatomy
from attacks import GOOD_WEIGHTS

from diffzoo.facts import sha256
from diffzoo.zoo.bundle import CHECKOUT, Bundle


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


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def copy(home) -> Bundle:
    """The bundle "copied", installed in `home`; its weights are two small tensors, and metadata tells their hash."""
    root = home / "bundles" / "copied"
    shutil.copytree(CHECKOUT / "score_mri" / "configs", root / "configs")
    (root / "models").mkdir()
    (root / "models" / "model.safetensors").write_bytes(GOOD_WEIGHTS)
    described = json.loads((root / "configs" / "metadata.json").read_text())
    described |= {"name": "copied", "weights_sha256": sha256(root / "models" / "model.safetensors")}
    (root / "configs" / "metadata.json").write_text(json.dumps(described))
    return Bundle(root)

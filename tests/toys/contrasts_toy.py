"""Simulated heads in several contrasts on disk, as people have them."""

from pathlib import Path

import nibabel as nib
import numpy as np

from diffzoo.imaging.phantoms.volumes import sample

SHAPE = (44, 52, 14)


def placed(shape=SHAPE, axes=(4.0, 4.0, 11.0)) -> np.ndarray:
    """An affine that puts the middle of a grid at the origin."""
    affine = np.diag([*axes, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def write_contrasts(folder: Path, roles=("t1", "t2", "flair"), name="sub", seed=0, affine=None, shape=SHAPE) -> dict[str, str]:
    """Writes `<name>_<role>.nii.gz` for each role, all of one grid, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    affine, paths = placed(shape) if affine is None else affine, {}
    for role in roles:
        path = folder / f"{name}_{role}.nii.gz"
        nib.save(nib.Nifti1Image(sample("head", shape, affine, seed, role), affine), path)
        paths[role] = str(path)
    return paths

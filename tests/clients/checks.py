"""What the tests of clients have in common."""

from collections.abc import Mapping

import nibabel as nib
import numpy as np

ROUNDING = 1e-5  # of the range: another environment may have other builds of the same mathematics


def same_volumes(paths: Mapping[str, str], expected: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Each file holds the voxels that are expected, in their place."""
    assert expected and paths.keys() == expected.keys()
    for name, (voxels, affine) in expected.items():
        image = nib.load(paths[name])
        found = np.asarray(image.dataobj, dtype=float)
        assert np.allclose(image.affine, affine, atol=1e-4), name
        assert found.shape == voxels.shape and np.isfinite(found).all(), name
        assert np.abs(found - voxels).max() <= ROUNDING * max(np.ptp(voxels), 1e-12), name
    assert np.ptp(next(iter(expected.values()))[0]) > 0

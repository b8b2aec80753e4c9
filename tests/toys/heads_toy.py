"""A simulated head for the tests: ellipsoids of scalp, skull, CSF, grey and white matter, ventricles."""

import numpy as np

#        scalp, skull, CSF, grey, white
VALUES = {"t1": (900, 60, 120, 420, 600), "t2": (350, 30, 1000, 450, 330), "flair": (300, 40, 60, 560, 470)}
BRAIN_MM = (64.0, 80.0, 58.0)  # half axes


def ellipsoid(points: np.ndarray, axes: tuple[float, ...], centre: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    return sum(((points[a] - centre[a]) / axes[a]) ** 2 for a in range(3)) <= 1


def toy_head(
    shape=(48, 54, 42), affine=None, modality="t1", stripped=False, noise=8.0, seed=0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volume [X, Y, Z], its affine (4 mm voxels about the origin where none is given) and the true brain with its CSF."""
    if affine is None:
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = -2.0 * (np.array(shape) - 1)
    points = np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    scalp, skull, csf, grey, white = VALUES[modality]
    grown = lambda mm: ellipsoid(points, tuple(a + mm for a in BRAIN_MM))  # noqa: E731
    brain = grown(0)
    folds = 0.12 * np.sin(points[0] / 9) * np.sin(points[1] / 9) * np.sin(points[2] / 9)
    image = np.zeros(shape)
    for mm, value in ((16, scalp), (9, skull), (0, csf), (-3, grey), (-12, white)):
        image = np.where(grown(mm), value, image)
    image = np.where(grown(-3), image * (1 + folds), image)
    for side in (-14, 14):
        image[ellipsoid(points, (7, 24, 12), (side, 0, 8))] = csf
    image = np.where(brain, image, 0) if stripped else image
    rough = np.random.default_rng(seed).normal(0, noise, (2, *shape))
    noisy = np.hypot(image + rough[0], rough[1])  # Rician
    return (np.where(brain, noisy, 0) if stripped else noisy).astype(np.float32), affine, brain

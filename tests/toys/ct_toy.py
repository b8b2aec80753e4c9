"""A small CT of a body with lung, bone and couch, as arrays and files: for tests of what takes CT."""

from pathlib import Path

import numpy as np

from diffzoo.imaging.io.files import write_volume

AFFINE = np.diag([-3.0, -3.0, 4.0, 1.0])  # stored LPS


def body(shape: tuple[int, int, int] = (72, 64, 6)) -> np.ndarray:
    """HU [X, Y, Z], float32: an ellipse of tissue of two kinds, a lung and a bone, on a couch; every slice a little larger."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    slices = []
    for k in range(shape[2]):
        far = ((x - 35) / (24 + 0.3 * k)) ** 2 + ((y - 30) / 18) ** 2
        hu = np.where(far < 1, -90.0, -1000.0)
        hu[far < 0.7] = 50
        hu[((x - 26) / 8) ** 2 + ((y - 29) / 9) ** 2 < 1] = -850
        hu[((x - 48) / 4) ** 2 + ((y - 34) / 4) ** 2 < 1] = 800
        hu[4:68, 52:54] = 100
        slices.append(hu)
    return np.stack(slices, 2).astype(np.float32)


def write(path: Path, hu: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> str:
    """Writes such a CT and returns its path."""
    return str(write_volume(path, body() if hu is None else hu, affine))

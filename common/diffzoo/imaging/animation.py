"""A small moving picture: planes of volumes that change from frame to frame."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .files import write_bytes
from .preview import display

SIDE, GAP = 176, 4  # px: longest side of a plane, and the room between planes
HOLD = 6  # frames that the last one stays


def animate(
    path: str | Path, frames: Sequence[Sequence[np.ndarray]], spacing: Sequence[tuple[float, float]], milliseconds: int = 120
) -> Path:
    """Writes a GIF that goes forth and back through the frames, atomically, and returns its path.

    frames: of each frame planes [X, Y] in [0, 1], drawn side by side, axes as `preview.display` takes them; spacing: mm of the
    axes of each plane. Raises ValueError for no frame.
    """
    from PIL import Image

    if not frames:
        raise ValueError("an animation needs a frame")
    pictures = [Image.fromarray(np.rint(255 * _strip(planes, spacing)).astype(np.uint8)) for planes in frames]
    pictures += [pictures[-1]] * HOLD + pictures[::-1]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return write_bytes(path, buffer.getvalue())


def _strip(planes: Sequence[np.ndarray], spacing: Sequence[tuple[float, float]]) -> np.ndarray:
    """Planes side by side, [H, W] in [0, 1], each at its true proportions."""
    from skimage.transform import resize

    extents = [np.array(plane.shape) * sizes for plane, sizes in zip(planes, spacing, strict=True)]
    scale = SIDE / max(extent.max() for extent in extents)
    shapes = [np.maximum(1, np.rint(extent * scale)).astype(int)[::-1] for extent in extents]
    page = np.zeros((max(s[0] for s in shapes), sum(s[1] for s in shapes) + GAP * (len(shapes) - 1)))
    left = 0
    for plane, (high, wide) in zip(planes, shapes, strict=True):
        top = (len(page) - high) // 2
        page[top : top + high, left : left + wide] = resize(display(plane).clip(0, 1), (high, wide), order=1)
        left += wide + GAP
    return page

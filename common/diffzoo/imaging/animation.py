"""A small moving picture: planes of volumes that change from frame to frame."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffzoo.imaging.io.files import write_bytes
from diffzoo.imaging.preview import display

SIDE, GAP = 144, 4  # px: longest side of a plane, and the room between planes
HOLD = 6  # times as long the first and the last frame stay
GREYS = 64  # shades: a picture of noise takes half the space


def animate(
    path: str | Path, frames: Sequence[Sequence[np.ndarray]], spacing: Sequence[tuple[float, float]], milliseconds: int = 120
) -> Path:
    """Writes an animated PNG that goes forth and back through the frames, atomically, and returns its path.

    frames: of each frame planes [X, Y] in [0, 1], drawn side by side, axes as `preview.display` takes them; spacing: mm of the
    axes of each plane. Raises ValueError for no frame.
    """
    from PIL import Image

    if not frames:
        raise ValueError("an animation needs a frame")
    strips = [np.rint((GREYS - 1) * _strip(planes, spacing)) * 255 / (GREYS - 1) for planes in frames]
    pictures = [Image.fromarray(strip.astype(np.uint8)) for strip in [*strips, *strips[-2:0:-1]]]
    durations = [milliseconds * (HOLD if k in (0, len(frames) - 1) else 1) for k in range(len(pictures))]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)
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

"""A contact sheet: the middle slice of every scan on one page, with the outline of what goes with it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffzoo.imaging.preview import Column, montage

ACROSS, MOST = 8, 64  # pictures in a row, and on the page
LIMIT = 600_000  # bytes


def contact_sheet(path: str | Path, seen: Sequence, caption: str) -> Path:
    """Writes the PNG and returns its path; seen: scans with `picture` [X, Y] in 0 to 1 and `outline` (labels, or None)."""
    chosen = list(seen)[:MOST]
    across = min(ACROSS, len(chosen))
    side = np.max([item.picture.shape for item in chosen], axis=0)
    blank = np.zeros(side)
    pictures = [_centred(item.picture, side) for item in chosen]
    outlines = [blank if item.outline is None else _centred(item.outline, side) for item in chosen]
    rows = -(-len(chosen) // across)
    missing = [blank] * (rows * across - len(chosen))
    shown = outlines + missing if any(item.outline is not None for item in chosen) else None
    pictures += missing
    columns = [Column("", pictures[k::across], overlays=None if shown is None else shown[k::across]) for k in range(across)]
    labels = [f"{first + 1} ..." for first in range(0, rows * across, across)]
    left = f"; {len(seen) - MOST} more" if len(seen) > MOST else ""
    return montage(path, columns, window=(0.0, 1.0), labels=labels, caption=f"{caption}{left}", limit=LIMIT)


def _centred(plane: np.ndarray, side: Sequence[int]) -> np.ndarray:
    """The plane in the middle of a black one."""
    pads = [(int(n - m) // 2, int(n - m) - int(n - m) // 2) for n, m in zip(side, plane.shape, strict=True)]
    return np.pad(plane, pads)

"""One small PNG that shows what a run did: rows of slices, columns such as input, output, reference and difference."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from diffzoo.imaging.io.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

BACKGROUND, INK, FAINT = "#111214", "#e8e8ea", "#9a9ca3"
SIGNED = ("#8fd0ff", "#2f78c4", "#111214", "#bf5022", "#ffc878")  # dark at zero, so that error stands out on the dark page
MAPS = {"grey": "gray", "error": "magma", "label": "Set1"}
GREYS, SHADES, BLEND = 96, 64, 0.55  # palette: greys, shades of each colour map, opacity of labels
CELL = 256  # px, longest side of one picture
LINE, LETTER = 14, 6.4  # px of a line of the caption, and of a letter
LIMIT = 200_000  # bytes
BARS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)  # mm, of a scale bar


class Column(NamedTuple):
    """One column of a montage: its title and a plane [X, Y] for each row, axes growing to R/A and A/S as `to_slices` gives.

    style: "grey" (all grey columns share one window), "error" (0 to the window / gain, magma) or "signed" (minus to plus the
    window / gain, blue to red). overlays: a label plane for each row, drawn in colour where it is not 0. unit and scale: what the
    colour bar tells, scale[0] times a value plus scale[1]; legend: words for the labels that are drawn.
    """

    title: str
    planes: Sequence[np.ndarray]
    style: str = "grey"
    gain: float = 1.0
    overlays: Sequence[np.ndarray] | None = None
    unit: str = ""
    scale: tuple[float, float] = (1.0, 0.0)
    legend: Mapping[int, str] | None = None


class Place(NamedTuple):
    """Where a row lies: a line or two for its corner, and the letters of the picture's left, right, upper and lower side."""

    words: str = ""
    sides: tuple[str, str, str, str] = ("", "", "", "")


class Box(NamedTuple):
    """A rectangle of the page, px from its upper left corner."""

    x: float
    y: float
    wide: float
    tall: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point of it by its shares of width and height."""
        return self.x + x * self.wide, self.y + y * self.tall


def display(plane: np.ndarray) -> np.ndarray:
    """Plane [X, Y] with axes growing to R/A and A/S as a picture [rows, columns]: second axis up, R (or A) on the left."""
    return np.asarray(plane)[::-1, ::-1].T


def montage(
    path: str | Path,
    columns: Sequence[Column],
    *,
    window: tuple[float, float] | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
    labels: Sequence[str] | None = None,
    caption: str = "",
    limit: int = LIMIT,
    places: Sequence[Place] | None = None,
) -> Path:
    """Writes a PNG of at most `limit` bytes, atomically, with a column a `Column` and a row a slice, and returns its path.

    window: grey values shown black and white (default: 0 or the 0.5 percentile, to the 99.8 percentile of the first column);
    spacing: mm of the two plane axes; labels: a word for each row; caption: lines below, which wrap; places: where each row lies,
    told in its first picture with a scale bar. Raises ValueError for unequal rows.
    """
    rows = {len(c.planes) for c in columns} | {len(c.overlays) for c in columns if c.overlays is not None}
    if len(rows) != 1 or 0 in rows:
        raise ValueError(f"a montage needs columns of one number of planes, not {sorted(rows)}")
    low, high = _window(columns) if window is None else window
    figure = _figure(columns, (float(low), float(high)), spacing, labels, caption, places)
    return write_bytes(path, _png(figure, _palette(columns), limit))


def _window(columns: Sequence[Column]) -> tuple[float, float]:
    planes = next((c.planes for c in columns if c.style == "grey"), columns[0].planes)
    values = np.concatenate([np.ravel(np.asarray(p, dtype=np.float64)) for p in planes])
    low, high = np.percentile(values, (0.5, 99.8))
    return float(0.0 if low >= 0 and low < 0.1 * high else low), float(high if high > low else low + 1)


@cache
def _colours(style: str) -> "Colormap":
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", SIGNED) if style == "signed" else colormaps[MAPS[style]]


def _limits(column: Column, window: tuple[float, float]) -> tuple[float, float]:
    reach = (window[1] - window[0]) / column.gain
    return {"grey": window, "error": (0.0, reach), "signed": (-reach, reach)}[column.style]


def _figure(
    columns: Sequence[Column],
    window: tuple[float, float],
    spacing: tuple[float, float],
    labels: Sequence[str] | None,
    caption: str,
    places: Sequence[Place] | None,
) -> "Figure":
    shapes = [np.shape(plane) for column in columns for plane in column.planes]
    extent = np.max(shapes, axis=0) * np.array(spacing)
    wide, tall = CELL * extent / extent.max()  # px of one cell
    gap, left, top, count = 6, 24 if labels else 6, 30, len(columns[0].planes)
    width = left + len(columns) * (wide + gap)
    lines = [part for line in caption.splitlines() for part in textwrap.wrap(line, max(20, int(width / LETTER)))]
    under = top + count * (tall + gap)  # px from the top, where the colour bars begin
    height = under + 34 + (6 + LINE * len(lines) if lines else 0)
    axes = _page(width, height)
    for i, column in enumerate(columns):
        x, limits = left + i * (wide + gap), _limits(column, window)
        title = column.title + (f"  × {column.gain:g}" if column.gain != 1 and not column.unit else "")
        axes.text(x + wide / 2, 0.5 * top, title, color=INK, fontsize=10, ha="center", va="center")
        for j in range(count):
            y = top + j * (tall + gap)
            box = _draw(axes, Box(x, y, wide, tall), column, j, limits, spacing)
            if places and i == 0:
                _mark(axes, box, places[j], box.wide / np.shape(column.planes[j])[0] / spacing[0])
            if column.legend and j == 0:
                _name(axes, box, column.legend)
            if labels and i == 0:
                axes.text(0.5 * left, y + tall / 2, labels[j], color=FAINT, fontsize=8, rotation=90, ha="center", va="center")
        _scale(axes, Box(x, under + 5, wide, 5), column, limits)
    for k, line in enumerate(reversed(lines)):
        axes.text(left, height - 10 - LINE * k, line, color=FAINT, fontsize=8, ha="left", va="center")
    return axes.figure


def _page(width: float, height: float) -> "Axes":
    # all pictures share one axes in px of the page, from its upper left corner: an axes of its own for each takes longer than it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def _draw(axes: "Axes", cell: Box, column: Column, row: int, limits: tuple[float, float], spacing: tuple[float, float]) -> Box:
    # a plane in the middle of its cell, as large as fits; returns where it lies
    extent = np.shape(column.planes[row]) * np.array(spacing)
    wide, tall = extent * min(cell.wide / extent[0], cell.tall / extent[1])
    box = Box(cell.x + (cell.wide - wide) / 2, cell.y + (cell.tall - tall) / 2, wide, tall)
    _paint(axes, box, display(column.planes[row]), column.style, limits)
    if column.overlays is not None:
        shown = np.ma.masked_equal(display(column.overlays[row]), 0)
        _paint(axes, box, shown, "label", (1, 9), alpha=BLEND, interpolation="nearest")
    return box


def _paint(axes: "Axes", box: Box, picture: np.ndarray, style: str, limits: tuple[float, float], **more) -> None:
    shared = {"interpolation": "antialiased", "aspect": "auto", "origin": "upper"} | more
    extent = (box.x, box.x + box.wide, box.y + box.tall, box.y)
    axes.imshow(picture, cmap=_colours(style), vmin=limits[0], vmax=limits[1], extent=extent, **shared)


def _mark(axes: "Axes", box: Box, place: Place, scale: float) -> None:
    # letters of the sides, where the slice lies, and a bar of a round number of mm; outlined, to be read on white; scale: px a mm
    shared = {"color": INK} | _outlined()
    spots = ((0.02, 0.5, "left"), (0.98, 0.5, "right"), (0.5, 0.02, "center"), (0.5, 0.98, "center"))
    for letter, (x, y, side) in zip(place.sides, spots, strict=True):
        level = "center" if y == 0.5 else "bottom" if y > 0.5 else "top"
        axes.text(*box.at(x, y), letter, fontsize=9, ha=side, va=level, **shared)
    axes.text(*box.at(0.02, 0.02), place.words, fontsize=6.5, ha="left", va="top", linespacing=1.2, **shared)
    length = max((mm for mm in BARS if mm * scale <= 0.4 * box.wide), default=BARS[0])
    end, level = box.at(0.97, 0.96)
    axes.plot([end - length * scale, end], [level, level], linewidth=1.5, scalex=False, scaley=False, **shared)
    words = f"{length // 10} cm" if length >= 20 else f"{length} mm" if length >= 1 else f"{1000 * length:.0f} \N{MICRO SIGN}m"
    axes.text(*box.at(0.97, 0.935), words, fontsize=6.5, ha="right", va="bottom", **shared)


def _name(axes: "Axes", box: Box, legend: Mapping[int, str]) -> None:
    # what the colours of labels stand for, from below
    for k, (label, words) in enumerate(reversed(list(legend.items()))):
        colour = _colours("label")((label - 1) / 8)
        axes.text(*box.at(0.02, 0.97 - 0.055 * k), words, color=colour, fontsize=8, ha="left", va="bottom", **_outlined())


def _outlined() -> dict:
    from matplotlib.patheffects import withStroke

    return {"path_effects": [withStroke(linewidth=2, foreground="black")]}


def _scale(axes: "Axes", box: Box, column: Column, limits: tuple[float, float]) -> None:
    # a colour bar with its two ends, and the middle where zero lies there
    low, high = limits
    _paint(axes, box, np.linspace(low, high, 256)[None], column.style, limits)
    ticks = [low, 0.0, high] if low == -high else [low, high]
    values = [column.scale[0] * t + column.scale[1] for t in ticks]
    words = [(f"{v:.0f}" if abs(v) >= 1000 else f"{v:.3g}").replace("-", "−") for v in values]
    words[-1] += f" {column.unit}" if column.unit else ""
    for k, text in enumerate(words):
        share = k / (len(words) - 1)
        side = {0.0: "left", 1.0: "right"}.get(share, "center")
        axes.text(box.x + share * box.wide, box.y + box.tall + 3, text, fontsize=7, color=FAINT, ha=side, va="top")


def _palette(columns: Sequence[Column]) -> np.ndarray:
    # [n <= 256, 3] uint8: greys, the colour maps in use, and the labels in use laid over greys
    ramp = np.linspace(0, 1, GREYS)[:, None].repeat(3, 1)
    parts = [ramp] + [_colours(style)(np.linspace(0, 1, SHADES))[:, :3] for style in {c.style for c in columns} - {"grey"}]
    planes = [np.unique(plane) for c in columns if c.overlays is not None for plane in c.overlays]
    labels = np.unique(np.concatenate(planes)) if planes else np.zeros(0)
    labels = labels[labels != 0]
    named = {label for c in columns for label in c.legend or ()}
    parts += [np.array([_colours("label")((label - 1) / 8)[:3]]) for label in sorted(named)]
    room = 256 - sum(map(len, parts))
    for label in labels[: room // 4]:
        colour = np.array(_colours("label")((label - 1) / 8)[:3])
        parts.append(BLEND * colour + (1 - BLEND) * np.linspace(0, 1, min(16, room // len(labels[: room // 4])))[:, None])
    return np.rint(255 * np.concatenate(parts)).astype(np.uint8)


def _nearest(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    # [H, W] uint8 index of the nearest palette colour; PIL's own search is 4 levels coarse, so white would not stay white
    red, green, blue = np.moveaxis(picture.astype(np.int32), -1, 0)
    codes = red << 16 | green << 8 | blue
    index = np.zeros(1 << 24, np.uint8)  # of each colour there is: faster than to sort the pixels
    index[codes] = 1
    seen = np.flatnonzero(index)
    colours = np.stack([seen >> 16, seen >> 8 & 255, seen & 255], axis=1).astype(np.float32)
    table = palette.astype(np.float32)
    distance = (table**2).sum(1) - 2 * colours @ table.T  # less the square of each seen colour, the same along a row
    index[seen] = distance.argmin(1)
    return index[codes]


def _png(figure: "Figure", palette: np.ndarray, limit: int) -> bytes:
    # a palette is a quarter of the size of RGBA; noisy pictures shrink until they fit
    from PIL import Image

    dpi = 100.0
    while True:
        figure.set_dpi(dpi)
        figure.canvas.draw()
        picture = Image.fromarray(_nearest(np.asarray(figure.canvas.buffer_rgba())[..., :3], palette))
        picture.putpalette(palette.tobytes())
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=7)  # 9 takes three times as long for 1 %
        if buffer.tell() <= limit:
            return buffer.getvalue()
        dpi *= min(0.9, (limit / buffer.tell()) ** 0.5)

"""The montage: size of the file, places of its pictures, orientation and grey values, read back from the PNG."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from diffzoo.imaging.geometry import to_slices
from diffzoo.imaging.positions import place
from diffzoo.imaging.preview import CELL, LIMIT, Column, Place, _figure, _nearest, display, montage

GAP, MARGIN, TOP = 6, 6, 30  # px between pictures, left of the first and above it
WHITE = 250  # the palette rounds


def pixels(path):
    assert path.stat().st_size <= LIMIT
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def cell(picture, column=0, row=0, size=(CELL, CELL), left=MARGIN):
    """One picture of a montage, [rows, columns, 3]; size is width, height."""
    x, y = round(left + column * (size[0] + GAP)), round(TOP + row * (size[1] + GAP))
    return picture[y : y + round(size[1]), x : x + round(size[0])]


def noise(seed, size=64):
    return np.random.default_rng(seed).uniform(size=(size, size))


def test_rows_and_columns(tmp_path):
    levels = np.array([[20.0, 60, 100], [140, 180, 220]])
    columns = [Column(f"c{i}", [np.full((8, 8), v) for v in levels[:, i]]) for i in range(3)]
    picture = pixels(montage(tmp_path / "a.png", columns, window=(0, 255)))
    assert picture.shape[1] == MARGIN + 3 * (CELL + GAP)
    for row in range(2):
        for column in range(3):
            inside = cell(picture, column, row)[4:-4, 4:-4]
            assert np.abs(inside - levels[row, column]).max() <= 3


def test_display_puts_the_patients_right_on_the_left_and_anterior_up():
    plane = np.arange(6).reshape(2, 3)  # [x to R, y to A]
    np.testing.assert_array_equal(display(plane), [[5, 2], [4, 1], [3, 0]])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_marked_voxel_at_anterior_left(tmp_path, codes):
    # world, mm: the mark is anterior (+y) and to the patient's left (-x), in whatever order the file stores it
    matrix = np.zeros((3, 3))
    for stored, letter in enumerate(codes):
        world = ["LR", "PA", "IS"].index(next(pair for pair in ("LR", "PA", "IS") if letter in pair))
        matrix[world, stored] = 1 if letter in "RAS" else -1
    centre = np.array([31 / 2] * 3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, -matrix @ centre
    volume = torch.zeros(1, 32, 32, 32)
    place = np.round(matrix.T @ np.array([-10.5, 10.5, 0.5]) + centre).astype(int)
    volume[(0, *place)] = 1
    sliced = to_slices(MetaTensor(volume, affine=torch.from_numpy(affine)))
    planes = [sliced.numpy()[0, :, :, int(sliced.numpy()[0].max((0, 1)).argmax())]]
    picture = cell(pixels(montage(tmp_path / "a.png", [Column("input", planes)], window=(0, 1)))).sum(-1)
    rows, columns = np.nonzero(picture > 600)
    assert rows.max() < CELL / 2 and columns.min() > CELL / 2  # up, and on the right of the picture


def test_spacing_sets_the_shape_of_a_picture(tmp_path):
    plane = np.zeros((20, 10))  # 20 mm wide and 30 mm high
    plane[:, 5:] = 1
    picture = pixels(montage(tmp_path / "a.png", [Column("a", [plane])], window=(0, 1), spacing=(1, 3)))
    assert picture.shape[1] == pytest.approx(MARGIN + CELL * 2 / 3 + GAP, abs=1)
    inside = cell(picture, size=(CELL * 2 / 3, CELL))
    assert inside[4 : CELL // 2 - 4, 4:-4].min() >= WHITE and inside[CELL // 2 + 4 : -4, 4:-4].max() <= 4


def test_planes_of_other_sizes_fill_their_cell(tmp_path):
    columns = [Column("a", [np.ones((40, 40))]), Column("b", [np.ones((20, 20))])]
    picture = pixels(montage(tmp_path / "a.png", columns, window=(0, 1)))
    wide = [int((cell(picture, i).min(-1) >= WHITE).any(0).sum()) for i in range(2)]
    assert wide == pytest.approx([CELL, CELL], abs=2)


def shown(tmp_path, style, value, window=(10, 30), gain=1.0):
    columns = [Column("a", [np.full((8, 8), value)], style, gain)]
    return cell(pixels(montage(tmp_path / "a.png", columns, window=window)))[CELL // 2, CELL // 2]


@pytest.mark.parametrize(
    ("style", "gain", "low", "high"), [("grey", 1, 10, 30), ("error", 1, 0, 20), ("error", 5, 0, 4), ("signed", 4, -5, 5)]
)
def test_limits_of_styles(tmp_path, style, gain, low, high):
    ends = [shown(tmp_path, style, v, gain=gain) for v in (low, high)]
    beyond = [shown(tmp_path, style, v, gain=gain) for v in (low - 100, high + 100)]
    inside = [shown(tmp_path, style, low + share * (high - low), gain=gain) for share in (0.1, 0.9)]
    assert np.array_equal(ends, beyond) and all(np.abs(e - i).max() > 8 for e, i in zip(ends, inside, strict=True))
    if style == "grey":
        assert ends[0].max() <= 4 and ends[1].min() >= WHITE
    if style == "error":
        assert ends[0].sum() < 10 < 600 < ends[1].sum()
    if style == "signed":
        assert ends[0][2] > ends[0][0] and ends[1][0] > ends[1][2]  # blue below, red above
        assert shown(tmp_path, style, 0, gain=gain).sum() < min(e.sum() for e in ends) / 4  # dark at zero


def test_window_is_taken_from_the_first_grey_column(tmp_path):
    ramp = np.linspace(0, 100, 4096).reshape(64, 64)
    columns = [Column("e", [1000 * ramp], "error"), Column("a", [ramp]), Column("b", [np.full((64, 64), 50.0)])]
    picture = pixels(montage(tmp_path / "a.png", columns))
    assert np.abs(cell(picture, 2)[8:-8, 8:-8] - 128).max() <= 4
    assert cell(picture, 1).max() >= WHITE and cell(picture, 1).min() <= 4


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_constant_planes_are_drawn(tmp_path, value):
    assert pixels(montage(tmp_path / "a.png", [Column("a", [np.full((8, 8), value)])])).ndim == 3


def test_overlay_colours_labels_alone(tmp_path):
    label = np.zeros((8, 8), int)
    label[:4] = 1  # the left of the body, the right half of the picture
    columns = [Column("a", [np.full((8, 8), 0.5)], overlays=[label])]
    inside = cell(pixels(montage(tmp_path / "a.png", columns, window=(0, 1))))
    grey, coloured = inside[8:-8, 8 : CELL // 2 - 8], inside[8:-8, CELL // 2 + 8 : -8]
    assert np.ptp(grey, axis=-1).max() <= 2 and np.ptp(coloured, axis=-1).min() > 40


def test_labels_and_caption_make_room(tmp_path):
    column = [Column("a", [noise(0), noise(1)])]
    plain = pixels(montage(tmp_path / "a.png", column))
    told = pixels(montage(tmp_path / "a.png", column, labels=["slice 3", "slice 9"], caption="score_mri, 4x"))
    assert told.shape[0] > plain.shape[0] and told.shape[1] > plain.shape[1]
    background = told[2, 2]
    assert (np.abs(told[TOP:-60, :22] - background).max(-1) > 60).any()  # the row labels
    assert (np.abs(told[-18:] - background).max(-1) > 60).any()  # the caption
    more = pixels(montage(tmp_path / "b.png", column, labels=["slice 3", "slice 9"], caption="score_mri, 4x\nwarning: worse"))
    assert len(more) > len(told) and more.shape[1] == told.shape[1]
    long = pixels(montage(tmp_path / "c.png", column, labels=["slice 3", "slice 9"], caption="score_mri " * 30))
    assert len(long) > len(more) and (np.abs(long[-30:, -4:] - background).max(-1) < 60).all()  # wraps


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (4, 4), (12, 6)])
def test_noise_fits_the_limit(tmp_path, rows, columns):
    pictures = [Column(str(i), [noise(i + 9 * j, 128) for j in range(rows)]) for i in range(columns)]
    picture = pixels(montage(tmp_path / "a.png", pictures))
    assert min(picture.shape[:2]) > 100


def test_small_pictures_keep_full_size(tmp_path):
    assert pixels(montage(tmp_path / "a.png", [Column("a", [np.eye(16)])])).shape[1] == MARGIN + CELL + GAP


def test_unequal_rows_and_no_rows(tmp_path):
    bad = ([], [Column("a", [])], [Column("a", [noise(0)]), Column("b", [noise(0)] * 2)], [Column("a", [noise(0)], overlays=[])])
    for columns in bad:
        with pytest.raises(ValueError, match="one number of planes"):
            montage(tmp_path / "a.png", columns)
    assert list(tmp_path.iterdir()) == []


AXES = {"axial": np.eye(4), "coronal": np.eye(4)[[0, 2, 1, 3]], "sagittal": np.eye(4)[[2, 0, 1, 3]]}
SIDES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "H", "F"), "sagittal": ("A", "P", "H", "F")}


@pytest.mark.parametrize("plane", AXES)
def test_a_place_tells_plane_number_position_and_sides(plane):
    affine = 2.0 * AXES[plane]
    affine[:3, 3], affine[3, 3] = -10.0, 1.0
    told = place(affine, (8, 8, 9), 4, number=12)
    axis = {"axial": "z", "coronal": "y", "sagittal": "x"}[plane]
    assert told == Place(f"{plane} 12\n{axis} \N{MINUS SIGN}2.0 mm", SIDES[plane])


def test_sides_are_not_told_where_the_header_does_not_state_them():
    assert place(np.eye(4), (8, 8, 9), 4, "the header states no orientation") == Place("slice 4")
    assert place(np.eye(4), (8, 8, 9), 4, own=False) == Place("axial\nz +4.0 mm", SIDES["axial"])  # a grid of the model


def texts(*columns, **more) -> list[str]:
    """All words of a montage's figure."""
    [axes] = _figure(columns, (0.0, 1.0), (1.0, 1.0), None, "", more.get("places")).axes
    titles = {column.title for column in columns}
    return [t.get_text() for t in axes.texts if t.get_text() not in titles]


def test_a_colour_bar_has_numbers_in_the_unit_of_what_is_shown():
    hounsfield = Column("ct", [noise(0)], unit="HU", scale=(1500.0, -1000.0))
    assert texts(hounsfield) == ["\N{MINUS SIGN}1000", "500 HU"]
    assert texts(Column("jacobian", [noise(0)], "signed", scale=(1.0, 1.0))) == ["0", "1", "2"]


def test_labels_are_named_in_their_colours():
    labels = [np.where(noise(0) > 0.5, 2, 1)]
    assert {"grey", "white"} <= set(texts(Column("labels", [noise(0)], overlays=labels, legend={1: "grey", 2: "white"})))


@pytest.mark.parametrize(
    ("spacing", "words", "mm"),
    [(1.0, "2 cm", 20), (4.0, "10 cm", 100), (0.25, "5 mm", 5), (0.05, "1 mm", 1), (0.01, "200 \N{MICRO SIGN}m", 0.2)],
)
def test_a_scale_bar_is_as_long_as_it_says(spacing, words, mm):
    figure = _figure([Column("a", [noise(0)])], (0.0, 1.0), (spacing, spacing), None, "", [Place("axial 3", SIDES["axial"])])
    [axes] = figure.axes
    assert {words, "axial 3", *SIDES["axial"]} <= {t.get_text() for t in axes.texts}
    [bar] = axes.lines
    assert float(np.ptp(bar.get_xdata())) * 64 * spacing / CELL == pytest.approx(mm)


def test_marks_lie_in_the_first_picture_of_their_row():
    places = [Place("axial 1", SIDES["axial"]), Place("axial 2", SIDES["axial"])]
    columns = [Column("flat", [np.zeros((20, 10))] * 2), Column("square", [np.zeros((20, 20))] * 2)]
    [axes] = _figure(columns, (0.0, 1.0), (1.0, 1.0), None, "", places).axes
    at = [(text.get_text(), *text.get_position()) for text in axes.texts]
    for row, words in enumerate(["axial 1", "axial 2"]):
        top = TOP + row * (CELL + GAP)  # of the cell, whose middle half the flat picture fills
        own = [(word, x, y) for word, x, y in at if word in (words, *SIDES["axial"]) and top < y < top + CELL]
        assert {word for word, _, _ in own} == {words, *SIDES["axial"]}
        assert all(MARGIN <= x <= MARGIN + CELL and top + CELL / 4 <= y <= top + 3 * CELL / 4 for _, x, y in own)
        middle = {word: (x - MARGIN - CELL / 2, top + CELL / 2 - y) for word, x, y in own}  # px to the right, and up
        assert middle["R"][0] < 0 < middle["L"][0] and middle["P"][1] < 0 < middle["A"][1]


def test_without_places_nothing_is_drawn_over_a_picture():
    figure = _figure([Column("a", [noise(0)])], (0.0, 1.0), (1.0, 1.0), None, "", None)
    assert texts(Column("a", [noise(0)])) == ["0", "1"] and not figure.axes[0].lines  # those of the colour bar


def test_the_nearest_of_a_palette_is_found_for_each_pixel():
    rng = np.random.default_rng(0)
    picture, palette = rng.integers(0, 256, (30, 20, 3), np.uint8), rng.integers(0, 256, (200, 3), np.uint8)
    apart = ((picture[:, :, None].astype(int) - palette) ** 2).sum(-1)
    found = _nearest(picture, palette)
    np.testing.assert_array_equal(np.take_along_axis(apart, found[..., None].astype(int), -1)[..., 0], apart.min(-1))


def test_a_caption_has_a_line_for_each_case(tmp_path):
    column = [Column("a", [noise(0), noise(1)])]
    one, two = (pixels(montage(tmp_path / "a.png", column, caption=words)) for words in ("first", "first\nsecond"))
    assert two.shape[0] - one.shape[0] == 14
    assert (cell(one, 0, 1) == cell(two, 0, 1)).mean() > 0.99

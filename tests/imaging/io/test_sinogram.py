"""Sinogram files of both kinds: round trips, what is assumed, and one line for everything that cannot be read."""

import json
import math
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.imaging.io.sinogram import KEYS, Sinogram, read_sinogram, write_sinogram

examples = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENDS = [".npy", ".h5", ".hdf5"]
DEGREES = [float(10 * k) for k in range(9)]


def disc(views=9, detectors=20, slices=1, attenuation=0.02):
    """Line integrals [slices, views, detectors] of discs with radii of 6 to 8 mm, 1 mm bins."""
    across = np.arange(detectors) - (detectors - 1) / 2
    radii = np.linspace(6, 8, slices)[:, None, None]
    chords = 2 * np.sqrt(np.clip(radii**2 - across**2, 0, None))
    return np.broadcast_to(attenuation * chords, (slices, views, detectors)).astype(np.float32)


GOOD = disc()[0]


def made(values=None, **geometry):
    values = disc() if values is None else values
    return Sinogram(torch.from_numpy(np.array(values)), tuple(math.radians(a) for a in DEGREES), **geometry)


def saved(folder, end, values=GOOD, **held):
    """A file of either kind as another program would write it: `held` as JSON, or as attributes."""
    path = folder / f"scan{end}"
    if end == ".npy":
        np.save(path, values, allow_pickle=True)
        path.with_suffix(".json").write_text(json.dumps(held))
        return path
    with h5py.File(path, "w") as file:
        file["sinogram"] = values
        file.attrs.update(held)
    return path


def refused(path, *words, **options):
    with pytest.raises(InputError) as caught:
        read_sinogram(path, **options)
    message = str(caught.value)
    assert "\n" not in message and path.parent.name in message
    said = message.replace(str(path.parent), "")  # the test's own name is in the path
    assert all(word in said for word in words), message


# round trips


@st.composite
def sinograms(draw):
    slices, views, detectors = draw(st.integers(1, 3)), draw(st.integers(8, 12)), draw(st.integers(16, 24))
    seed, scale = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from((1e-6, 0.3, 49.0)))
    values = scale * np.random.default_rng(seed).random((slices, views, detectors), dtype=np.float32)
    values[..., [0, -1]] = 0  # the beam beside the patient
    first, step = draw(st.floats(-7, 7)), draw(st.sampled_from((-1, 1))) * draw(st.floats(1e-3, 0.8))
    angles = tuple(first + k * step for k in range(views))
    sizes = st.floats(0.01, 3)
    geometry = {"detector_spacing": draw(sizes), "slice_spacing": draw(sizes), "offset": draw(st.floats(-0.05, 0.05))}
    if draw(st.booleans()):
        geometry |= {"source_distance": draw(st.floats(1, 900)), "detector_distance": draw(st.floats(50, 900))}
    return Sinogram(torch.from_numpy(values), angles, **geometry)


@examples
@given(sinograms(), st.sampled_from(ENDS))
def test_round_trip(tmp_path, sinogram, end):
    before = sinogram.values.clone()
    write_sinogram(tmp_path / f"scan{end}", sinogram)
    back = read_sinogram(tmp_path / f"scan{end}")
    assert back == sinogram and torch.equal(sinogram.values, before)
    assert back.values.dtype == torch.float32 and back.angles == sinogram.angles
    parallel = "source_distance and detector_distance are not given: parallel beam assumed"
    assert back.notes == ((parallel,) if sinogram.source_distance is None else ())


def test_equality_sees_all_but_the_notes():
    one = made(source_distance=500.0, detector_distance=400.0)
    assert one == replace(one, values=one.values.clone(), notes=("a note",))
    assert one != replace(one, values=one.values + 1) and one != 1
    for key in ("detector_spacing", "offset", "source_distance", "detector_distance", "slice_spacing"):
        assert one != replace(one, **{key: 7.0})
    assert one != replace(one, angles=tuple(a + 1e-12 for a in one.angles))


@pytest.mark.parametrize("end", ENDS)
def test_a_refused_or_failed_write_leaves_the_folder_as_it_was(tmp_path, end, monkeypatch):
    path = tmp_path / f"scan{end}"
    write_sinogram(path, made())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(before) == ({"scan.npy", "scan.json"} if end == ".npy" else {path.name})
    for bad in (made(-disc()), made(offset=50.0), made(source_distance=500.0), replace(made(), angles=(0.0,) * 9)):
        with pytest.raises(InputError):
            write_sinogram(path, bad)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    monkeypatch.setattr(h5py.AttributeManager, "update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_sinogram(path, made(2 * disc()))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


# what a file may hold


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_degrees_and_geometry_of_another_program(tmp_path, end, dtype):
    geometry = {"detector_spacing": 0.8, "offset": -0.25, "slice_spacing": 3, "source_distance": 570, "detector_distance": 470.5}
    values = disc(slices=2).astype(dtype)
    back = read_sinogram(saved(tmp_path, end, values, angles=DEGREES, angle_unit="degree", **geometry))
    assert {key: getattr(back, key) for key in geometry} == geometry
    assert np.array_equal(back.values.numpy(), values.astype(np.float32)) and back.notes == ()
    assert back.angles == pytest.approx([math.radians(a) for a in DEGREES], abs=1e-15)


@pytest.mark.parametrize("end", ENDS)
def test_one_slice_and_each_default_has_its_note(tmp_path, end):
    back = read_sinogram(saved(tmp_path, end, angles=DEGREES))
    assert np.array_equal(back.values.numpy(), GOOD[None])
    assert (back.detector_spacing, back.offset, back.slice_spacing) == (1, 0, 1)
    assert back.source_distance is None and back.detector_distance is None
    for note, word in zip(back.notes, ("degrees", "detector_spacing", "offset", "slice_spacing", "parallel beam"), strict=True):
        assert word in note and note.endswith("assumed")


def test_hdf5_keys_may_be_datasets_and_attributes_of_datasets(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["sinogram"], file["angles"], file["slice_spacing"] = GOOD, np.radians(DEGREES)[:, None], np.array([2.5])
        file["sinogram"].attrs["detector_spacing"] = np.float32(0.5)
        file["angles"].attrs["angle_unit"] = np.bytes_("radian")
        file.attrs["scanner"] = "another program's own"
    back = read_sinogram(tmp_path / "scan.h5")
    assert back.angles == tuple(np.radians(DEGREES)) and (back.slice_spacing, back.detector_spacing) == (2.5, 0.5)


def test_angles_may_fall_and_pass_360(tmp_path):
    falling = [400.0 - 10 * k for k in range(9)]
    assert read_sinogram(saved(tmp_path, ".npy", angles=falling)).angles == pytest.approx(np.radians(falling))


def test_null_in_json_counts_as_not_given(tmp_path):
    back = read_sinogram(saved(tmp_path, ".npy", **dict.fromkeys(KEYS)), arc=90)
    assert back.source_distance is None and back.detector_spacing == 1


@pytest.mark.parametrize("end", ENDS)
def test_arc_serves_a_file_without_angles_only(tmp_path, end):
    path = saved(tmp_path, end)
    back = read_sinogram(path, arc=90)
    assert back.angles == pytest.approx([math.radians(10 * k) for k in range(9)])
    assert back.notes[0] == "angles are not given: 9 views evenly spaced over 90 degrees from 0 assumed"
    told = read_sinogram(saved(tmp_path, end, angles=[5 * a for a in DEGREES]), arc=90)
    assert told.angles[-1] == pytest.approx(math.radians(400))
    path = saved(tmp_path, end)
    for arc in (0, -10, 361, float("nan")):
        with pytest.raises(InputError, match="at most 360 degrees"):
            read_sinogram(path, arc)
    refused(path, "no angles", "'angles' (degrees, one a view)", "set arc", "scan.json beside" if end == ".npy" else "dataset")


def test_npy_without_json(tmp_path):
    np.save(tmp_path / "a.v2.npy", GOOD)
    assert read_sinogram(tmp_path / "a.v2.npy", 60).angles[3] == pytest.approx(math.radians(20))
    refused(tmp_path / "a.v2.npy", "no angles", "a.v2.json")


def test_noise_below_zero_is_kept(tmp_path):
    noisy = disc(60, 40, attenuation=0.2) + np.random.default_rng(0).normal(0, 0.15, (1, 60, 40))
    assert read_sinogram(saved(tmp_path, ".npy", noisy), 90).values.min() < -0.3


# refusals


def changed(value, values=GOOD):
    values = values.copy()
    values[3, 4] = value
    return values


BAD_VALUES = [
    (GOOD[0], "not of shape [20]"),
    (disc()[None], "[slices, views, detectors], not of shape [1, 1, 9, 20]"),
    (np.float32(1), "not of shape []"),
    (disc()[:0], "not of shape [0, 9, 20]"),
    (GOOD[:7], "7 views of 20 detectors are too few"),
    (GOOD[:, :15], "at least 8 views of 16 detectors"),
    (changed(np.nan), "NaN or infinite"),
    (changed(-np.inf), "NaN or infinite"),
    (GOOD.astype(np.float64) * 1e300, "NaN or infinite"),
    (0 * GOOD, "every value is 0"),
    (0 * GOOD + 3, "every value is 3"),
    (-GOOD, "raw intensities? Take -log(I / I0)"),
    (changed(-1.5), "down to -1.5"),
    (changed(51), "up to 51"),
    ((5000 * np.exp(-GOOD)).astype(np.uint16), "raw intensities? Take -log(I / I0)"),
    (np.exp(-5 * GOOD), "near 1 at the detector's ends"),
    (GOOD.astype(np.complex64), "real numbers, not complex64"),
    (GOOD > 0.1, "real numbers, not bool"),
]


@pytest.mark.parametrize("end", [".npy", ".h5"])
@pytest.mark.parametrize(("values", "words"), BAD_VALUES, ids=[words for _, words in BAD_VALUES])
def test_bad_values(tmp_path, end, values, words):
    refused(saved(tmp_path, end, values, angles=DEGREES), words)


FAN = {"source_distance": 500.0, "detector_distance": 400.0}
BAD_GEOMETRY = [
    ({"angles": DEGREES[:-1]}, "8 angles for 9 views"),
    ({"angles": [*DEGREES[:-1], float("nan")]}, "angles must be finite numbers"),
    ({"angles": "0, 10, 20"}, "angles must be finite numbers"),
    ({"angles": [True] * 9}, "angles must be finite numbers"),
    ({"angles": [30.0] * 9}, "all angles are 30"),
    ({"angles": [0.0, *DEGREES[:-1]]}, "rise, or fall"),
    ({"angles": [340.0, 350.0, *DEGREES[:-2]]}, "go on past 360 degrees"),
    ({"angles": [math.radians(a) for a in DEGREES]}, "set angle_unit to 'radian'"),
    ({"angle_unit": "degrees"}, "did you mean degree?"),
    ({"angle_unit": 1}, "angle_unit is not"),
    ({"detector_spacing": 0}, "detector_spacing must be positive (mm), not 0"),
    ({"slice_spacing": -1.0}, "slice_spacing must be positive"),
    ({"detector_spacing": "0.8"}, "detector_spacing must be one finite number"),
    ({"detector_spacing": [0.8, 0.8]}, "one finite number in mm, not 2"),
    ({"offset": float("inf")}, "offset must be one finite number"),
    ({"offset": -9.5}, "beyond the detector's end at 9.5 mm"),
    ({"source_distance": 500.0}, "source_distance without detector_distance"),
    ({"detector_distance": 500.0}, "detector_distance without source_distance"),
    (FAN | {"source_distance": 0.0}, "source_distance must be positive"),
    (FAN | {"detector_distance": -1.0}, "detector_distance must be positive"),
    ({"source_distance": 5.0, "detector_distance": 4.0}, "inside the field of view"),
    (FAN | {"detector_spacing": 100.0}, "inside the field of view of 527.778 mm"),
]


@pytest.mark.parametrize("end", [".npy", ".h5"])
@pytest.mark.parametrize(("held", "words"), BAD_GEOMETRY, ids=[f"{words}-{k}" for k, (_, words) in enumerate(BAD_GEOMETRY)])
def test_bad_angles_and_geometry(tmp_path, end, held, words):
    refused(saved(tmp_path, end, **({"angles": DEGREES} | held)), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"detektor_spacing": 1}', "unknown key 'detektor_spacing'; did you mean detector_spacing"),
        ('{"zzz": 1}', "unknown key 'zzz'; known: angle_unit, angles"),
        ("[1, 2]", "one JSON object"),
        ('{"angles": [0, 10', "not a readable JSON file"),
        ("", "not a readable JSON file"),
        ("\udcff", "not a readable JSON file"),
        ("[" * 100000, "not a readable JSON file"),
        ('{"angles": [[1, 2], [3]]}', "angles must be finite numbers"),
        ('{"angles": 10, "offset": {}}', "1 angles for 9 views"),
        ('{"offset": [1, [2]]}', "offset must be one finite number"),
    ],
)
def test_bad_json(tmp_path, text, words):
    path = saved(tmp_path, ".npy")
    path.with_suffix(".json").write_bytes(text.encode(errors="surrogateescape"))
    refused(path, words, "scan.json" if "JSON" in words or "key" in words else "scan.npy", arc=90)


def test_hdf5_without_a_sinogram_names_what_it_holds(tmp_path):
    for held, words in (
        ({"kspace": GOOD, "mask": GOOD}, "(it holds: kspace, mask)"),
        ({}, "nothing"),
        ({"a\nb": GOOD}, "(it holds: a b)"),
        ({"sinogram/a": GOOD}, ""),
    ):
        with h5py.File(tmp_path / "scan.h5", "w") as file:
            for name, value in held.items():
                file[name] = value
        refused(tmp_path / "scan.h5", "no dataset 'sinogram'", words)
    refused(saved(tmp_path, ".h5", "text"), "real numbers")
    refused(saved(tmp_path, ".h5", h5py.Empty("f4")), "real numbers")


def test_files_of_another_kind(tmp_path):
    for end in ENDS:
        path = tmp_path / f"scan{end}"
        refused(path, "no such file")
        for content in (b"", b"neither an array nor HDF5, only words\n" * 50, pickle.dumps([1.0, 2.0])):
            path.write_bytes(content)
            refused(path, "not a readable")
    np.save(path := tmp_path / "object.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    refused(path, "pickled", "numpy.save")
    with open(tmp_path / "zip.npy", "wb") as stream:
        np.savez(stream, GOOD)
    refused(tmp_path / "zip.npy", "not a readable .npy array")
    (tmp_path / "words.txt").write_text("words")
    refused(tmp_path / "words.txt", ".npy, .h5 or .hdf5")
    with pytest.raises(InputError, match="save it as one of these"):
        write_sinogram(tmp_path / "scan.npz", made())
    refused(tmp_path, "no such file")


@examples
@given(st.sampled_from(ENDS), st.floats(0, 1, exclude_max=True))
def test_truncated_files(tmp_path, end, share):
    path = tmp_path / f"scan{end}"
    write_sinogram(path, made(disc(slices=2)))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path, "not a readable", "truncated")


@settings(examples, max_examples=150)
@given(st.sampled_from((".npy", ".h5")), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_files_are_read_or_refused(tmp_path, end, bytes_at):
    path = tmp_path / f"scan{end}"
    write_sinogram(path, made())
    data = bytearray(path.read_bytes())
    for place, value in bytes_at:
        data[place % min(len(data), 200 if end == ".npy" else len(data))] = value
    path.write_bytes(data)
    try:
        read = read_sinogram(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert torch.isfinite(read.values).all() and len(read.angles) == read.values.shape[1]

"""Axis orders, crops and slice ranges: voxels bit for bit, affines to 1e-6."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import (
    axcodes,
    check_spacing,
    crop_slices,
    orient,
    parse_slices,
    restore,
    slice_axis,
    spacing,
    to_slices,
)

PERMUTATIONS = [
    np.eye(3)[:, order] * signs for order in itertools.permutations(range(3)) for signs in itertools.product((-1, 1), repeat=3)
]
SIZES = [(1, 1, 1), (0.5, 0.5, 5), (3, 1, 1), (1, 4, 0.9)]
examples = settings(deadline=None, max_examples=60)


def turn(seed, angle=0.5):
    """A rotation [3, 3] by up to `angle` radians about a random axis (Rodrigues)."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.normal(size=3)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / np.sqrt(x * x + y * y + z * z)
    angle = rng.uniform(0, angle)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine_of(matrix, sizes=(1, 1, 1), origin=(3.0, -50.0, 7.5)):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix * np.asarray(sizes), origin
    return affine


def image_of(shape, affine, channels=1, seed=0):
    values = torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))
    return MetaTensor(values, affine=torch.from_numpy(affine))


def check_places(moved, image):
    """Every voxel of `moved` has the value that `image` has at the same place of the world."""
    index = np.indices(moved.shape[1:]).reshape(3, -1)
    world = moved.affine.numpy() @ np.vstack([index, np.ones(index.shape[1])])
    source = np.linalg.solve(image.affine.numpy(), world)[:3]
    np.testing.assert_allclose(source, np.round(source), atol=1e-6)
    i, j, k = np.round(source).astype(int)
    np.testing.assert_array_equal(moved.numpy().reshape(len(moved), -1), image.numpy()[:, i, j, k])


def check_round_trip(image):
    before, affine = image.clone(), image.affine.numpy().copy()
    sliced = to_slices(image)
    check_places(sliced, image)
    back = restore(sliced, affine)
    assert back.shape == image.shape and torch.equal(back.as_tensor(), image.as_tensor())
    np.testing.assert_allclose(back.affine, affine, atol=1e-6, rtol=0)
    assert torch.equal(image.as_tensor(), before.as_tensor()) and np.array_equal(image.affine, affine)  # arguments untouched
    return sliced


@pytest.mark.parametrize("matrix", PERMUTATIONS)
def test_all_signed_permutations(matrix):
    for sizes in SIZES:
        sliced = check_round_trip(image_of((3, 4, 5), affine_of(matrix, sizes), channels=2))
        thick = int(np.abs(matrix[:, int(np.argmax(sizes))]).argmax()) if max(sizes) > 1 else 2
        assert axcodes(sliced.affine) == ("ASR", "RSA", "RAS")[thick]


@examples
@given(
    st.sampled_from(PERMUTATIONS), st.integers(0, 10**6), st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.floats(0.3, 6)] * 3)
)
def test_oblique_anisotropic_and_odd_sizes(matrix, seed, shape, sizes):
    sliced = check_round_trip(image_of(shape, affine_of(turn(seed) @ matrix, sizes)))
    assert axcodes(sliced.affine) in ("ASR", "RSA", "RAS")


@pytest.mark.parametrize("matrix", PERMUTATIONS[::5])
@pytest.mark.parametrize("thin", range(3))
def test_one_slice_is_last(matrix, thin):
    shape = [4, 5, 6]
    shape[thin] = 1
    sliced = check_round_trip(image_of(shape, affine_of(turn(1, 0.3) @ matrix, (1, 1, 1))))
    assert sliced.shape[-1] == 1


def test_sheared_affine():
    shear = np.array([[1, 0, 0.3], [0, 1, 0.1], [0, 0, 1]])
    check_round_trip(image_of((3, 4, 5), affine_of(shear @ PERMUTATIONS[13], (1, 1, 3))))


@examples
@given(st.sampled_from(PERMUTATIONS), st.integers(0, 10**6), st.data())
def test_crop_keeps_places_through_restore(matrix, seed, data):
    image = image_of((4, 5, 6), affine_of(turn(seed) @ matrix, (1, 2, 1.1)))
    sliced = to_slices(image)
    first = data.draw(st.integers(0, sliced.shape[-1] - 1))
    stop = data.draw(st.integers(first + 1, sliced.shape[-1]))
    cropped = crop_slices(sliced, first, stop)
    assert torch.equal(cropped.as_tensor(), sliced.as_tensor()[..., first:stop])
    check_places(cropped, sliced)
    check_places(restore(cropped, image.affine.numpy()), image)
    assert np.array_equal(to_slices(image).affine, sliced.affine)


@pytest.mark.parametrize(("first", "stop"), [(-1, 2), (2, 2), (3, 2), (0, 7), (6, 7)])
def test_crop_outside(first, stop):
    with pytest.raises(ValueError, match="not within 0:6"):
        crop_slices(image_of((4, 5, 6), np.eye(4)), first, stop)


def test_restore_refuses_another_orientation():
    image = image_of((3, 4, 5), affine_of(turn(3, 1.0)))
    with pytest.raises(ValueError, match="not parallel"):
        restore(image, np.eye(4))
    with pytest.raises(ValueError, match="to_slices needs a volume"):
        to_slices(MetaTensor(torch.ones(1, 4, 5)))


def test_restore_keeps_other_voxel_sizes():
    stored = affine_of(PERMUTATIONS[10], (1, 1, 2))
    sliced = to_slices(image_of((3, 4, 5), stored))
    finer = MetaTensor(sliced.as_tensor(), affine=sliced.affine @ torch.diag(torch.tensor([0.5, 0.5, 1, 1], dtype=torch.float64)))
    back = restore(finer, stored)
    check_places(back, finer)
    assert axcodes(back.affine) == axcodes(stored)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "IPL"])
def test_orient(codes):
    image = image_of((3, 4, 5), affine_of(turn(2) @ PERMUTATIONS[20], (1, 2, 3)))
    moved = orient(image, codes)
    assert axcodes(moved.affine) == codes
    check_places(moved, image)


def test_slice_axis():
    diagonal = lambda *sizes: np.diag([*sizes, 1.0])  # noqa: E731
    cases = [
        (diagonal(1, 1, 1), (9, 9, 9), 2),
        (diagonal(1.2, 1, 1), (9, 9, 9), 2),
        (diagonal(1.21, 1, 1), (9, 9, 9), 0),
        (diagonal(1, 5, 1), (9, 9, 9), 1),
        (diagonal(5, 5, 1), (9, 9, 9), 1),
        (diagonal(5, 1, 5), (9, 9, 9), 2),
        (diagonal(1, 5, 1), (1, 9, 9), 0),  # the axis of length 1 goes before the thick one
        (diagonal(1, 5, 1), (1, 9, 1), 1),
        (affine_of(np.eye(3)[:, [2, 0, 1]], (1, 1, 4)), (9, 9, 9), 1),  # the third stored axis goes to A
    ]
    for affine, shape, expected in cases:
        assert slice_axis(affine, shape) == expected


@examples
@given(st.integers(0, 10**6), st.tuples(*[st.floats(0.1, 10)] * 3))
def test_spacing_of_an_oblique_affine(seed, sizes):
    np.testing.assert_allclose(spacing(affine_of(turn(seed, 3.0), sizes)), sizes, rtol=1e-12)


def test_check_spacing():
    assert check_spacing((0.5, 1, 2), 0.5, 2) is None
    assert check_spacing((0.4999, 2.0001), 0.5, 2) is None  # rounding of headers
    for sizes in ((0.4, 1), (1, 2.1)):
        message = check_spacing(sizes, 0.5, 2)
        assert "outside" in message and " x ".join(f"{s:g}" for s in sizes) in message and "0.5 to 2 mm" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", (0, 10)), (" ALL ", (0, 10)), ("central:4", (3, 7)), ("central:3", (3, 6)), ("central:10", (0, 10)),
        ("central:99", (0, 10)), ("2:5", (2, 5)), ("7:", (7, 10)), (":4", (0, 4)), (":", (0, 10)), ("0", (0, 1)), ("9", (9, 10)),
        (3, (3, 4)),
    ],
)  # fmt: skip
def test_parse_slices(text, expected):
    assert parse_slices(text, 10) == expected


@pytest.mark.parametrize("text", ["10", "5:5", "7:3", "0:11", "10:", ":0", "central:0"])
def test_slices_outside(text):
    with pytest.raises(InputError, match=r"outside the volume: the volume has 10 slices, 0:10"):
        parse_slices(text, 10)


@pytest.mark.parametrize("text", ["", "-1", "1:2:3", "central", "central:", "central:-2", "first", "1.5", "1-3", "None"])
def test_slices_not_understood(text):
    with pytest.raises(InputError, match="not understood") as caught:
        parse_slices(text, 1)
    assert "one slice, 0" in str(caught.value)


@examples
@given(st.integers(1, 50), st.integers(1, 80))
def test_central_slices_are_central(count, wanted):
    first, stop = parse_slices(f"central:{wanted}", count)
    assert stop - first == min(count, wanted) and 0 <= count - stop - first <= 1

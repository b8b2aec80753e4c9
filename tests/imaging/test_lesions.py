"""Synthetic lesions: their volume, place, intensity and reproducibility."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, center_of_mass, label

from diffzoo.errors import InputError
from diffzoo.imaging.lesions import CONTRASTS, RADII, TEXTURES, filled, insert_lesion, lesion_set


def head(shape=(48, 52, 44), value=100.0, noise=0.0):
    """An ellipsoid brain in air: image and mask."""
    axes = np.meshgrid(*[np.linspace(-1.1, 1.1, n) for n in shape], indexing="ij")
    brain = sum(a**2 for a in axes) < 1
    texture = 1 + noise * np.random.default_rng(0).standard_normal(shape)
    return np.where(brain, value * texture, 0).astype(np.float32), brain


def size_of(radius, spacing):
    return (np.pi * radius**2 if len(spacing) == 2 else 4 / 3 * np.pi * radius**3) / np.prod(spacing)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**31),
    st.floats(2.5, 9),
    st.sampled_from([(48, 52, 44), (64, 60)]),
    st.sampled_from(TEXTURES),
    st.floats(0.5, 3),
)
def test_volume_and_place(seed, radius, shape, texture, edge):
    image, brain = head(shape)
    changed, mask = insert_lesion(image, brain, radius, 0.6, texture, 1.0, seed, edge_mm=edge)
    assert mask.sum() == pytest.approx(size_of(radius, (1,) * len(shape)), abs=2)
    assert label(mask, np.ones((3,) * len(shape)))[1] == 1
    differs = changed != image
    assert not differs[~brain].any()  # the soft edge included
    far = ~binary_dilation(mask, iterations=2 + int(np.ceil(2 * edge)))
    assert np.array_equal(changed[far], image[far])
    assert (differs & mask).sum() > 0.6 * mask.sum()


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 3), (2, 1, 0.8), (0.5, 2), (1.0, 0.7)])
def test_millimetres_hold_on_any_grid(spacing):
    radius = 7.0
    shape = tuple(int(60 / s) for s in spacing)
    image, brain = head(shape)
    volumes, extents = [], []
    for seed in range(12):
        _, mask = insert_lesion(image, brain, radius, 0.5, "flat", spacing, seed)
        volumes.append(mask.sum() * np.prod(spacing))
        extents.append([np.ptp(where) * s for where, s in zip(np.nonzero(mask), spacing, strict=True)])
    assert volumes == pytest.approx([size_of(radius, (1,) * len(spacing))] * 12, rel=0.03)
    assert np.mean(extents, 0) == pytest.approx([2 * radius] * len(spacing), abs=0.25 * radius + max(spacing) / 2)
    alike = insert_lesion(*head((40, 40, 40)), 5.0, spacing=1.0, seed=1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(alike, insert_lesion(*head((40, 40, 40)), 5.0, spacing=(1, 1, 1), seed=1), strict=True)
    )


def test_lesions_are_round_ish_but_not_balls():
    image, brain = head((64, 64, 64))
    spreads = []
    for seed in range(6):
        _, mask = insert_lesion(image, brain, 9, seed=seed)
        middle = np.array(center_of_mass(mask))
        spreads.append(np.linalg.norm(np.argwhere(mask) - middle, axis=1).max() / 9)
    assert all(1.05 < s < 1.7 for s in spreads)
    assert np.std(spreads) > 0.01


@pytest.mark.parametrize("contrast", [0.3, 0.8, -0.3, -0.8])
def test_contrast_is_relative_to_the_tissue(contrast):
    for value in (1.0, 300.0):
        image, brain = head((52, 52, 52), value)
        changed, mask = insert_lesion(image, brain, 8, contrast, "flat", seed=3, edge_mm=1.0)
        core = changed[mask & ~binary_dilation(~mask, iterations=2)]
        assert core == pytest.approx(value * (1 + contrast), rel=1e-5)
        lows, highs = sorted((value, value * (1 + contrast)))
        assert changed[brain].min() >= lows * (1 - 1e-5) and changed[brain].max() <= highs * (1 + 1e-5)


def test_the_local_tissue_counts():
    image, brain = head((60, 60, 60))
    image[:30] *= 4
    for half, expected in ((slice(None, 30), 600), (slice(30, None), 150)):
        part = np.zeros_like(brain)
        part[half] = brain[half]
        changed, mask = insert_lesion(image, part, 4, 0.5)
        core = changed[mask & ~binary_dilation(~mask, iterations=2)]
        assert core == pytest.approx(expected, rel=1e-4)


def test_some_detail_of_the_tissue_shows_through():
    image, brain = head((60, 60, 60), noise=0.1)
    changed, mask = insert_lesion(image, brain, 10, 0.5, seed=0)
    core = mask & ~binary_dilation(~mask, iterations=2)
    assert changed[core].std() / changed[core].mean() == pytest.approx(0.03, rel=0.15)
    assert np.corrcoef(changed[core], image[core])[0, 1] > 0.95


def profile(texture, contrast, seed=0):
    """Intensity of the outer ring and of the core of a lesion of radius 10 in tissue of 1, and the spread of the lesion."""
    image, brain = head((64, 64, 64), 1.0)
    changed, mask = insert_lesion(image, brain, 10, contrast, texture, seed=seed, edge_mm=1.0)
    inner = [mask]
    for _ in range(6):
        inner.append(inner[-1] & ~binary_dilation(~inner[-1]))
    return float(np.median(changed[inner[1] & ~inner[2]])), float(np.median(changed[inner[6]])), float(changed[inner[1]].std())


def test_textures():
    for contrast in (0.6, -0.6):
        ring, core, _ = profile("rim", contrast)
        assert ring == pytest.approx(1 + contrast, abs=0.05) and core == pytest.approx(1 - contrast / 2, abs=0.05)
        ring, core, spread = profile("flat", contrast)
        assert ring == pytest.approx(1 + contrast, abs=1e-4) and core == pytest.approx(1 + contrast, abs=1e-4) and spread < 1e-4
        assert np.mean([profile("noise", contrast, s)[2] for s in range(4)]) == pytest.approx(0.4 * 0.6, rel=0.3)


def test_intensities_do_not_fall_below_black():
    image, brain = head()
    for texture in TEXTURES:
        changed, _ = insert_lesion(image, brain, 6, -1.0, texture, seed=2)
        assert changed.min() >= 0


def test_several_lesions_do_not_touch():
    image, brain = head((80, 80, 80))
    changed, mask = insert_lesion(image, brain, 5, seed=4, count=5)
    parts, found = label(mask)
    assert found == 5
    assert np.bincount(parts.ravel())[1:] == pytest.approx([size_of(5, (1, 1, 1))] * 5, abs=2)
    assert label(changed != image)[1] == 5
    with pytest.raises(InputError, match=r"no room .* after [1-9] of 500"):
        insert_lesion(image, brain, 8, count=500)


def test_the_seed_alone_decides():
    image, brain = head(noise=0.05)
    kept = image.copy(), brain.copy()
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first = insert_lesion(image, brain, 5, 0.5, "noise", seed=7)
    np.random.seed(2)
    second = insert_lesion(image, brain, 5, 0.5, "noise", seed=7)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[1], insert_lesion(image, brain, 5, 0.5, "noise", seed=8)[1])
    assert np.array_equal(image, kept[0]) and np.array_equal(brain, kept[1])
    np.random.seed(1)
    insert_lesion(image, brain, 5)
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize(("dtype", "expected"), [(np.float64, np.float64), (np.float32, np.float32), (np.int16, np.float32)])
def test_dtypes(dtype, expected):
    image, brain = head()
    changed, mask = insert_lesion(image.astype(dtype), brain.astype(np.uint8), 5)
    assert changed.dtype == expected and mask.dtype == bool and mask.any()


def test_the_brain_may_reach_the_borders_of_the_image():
    image = np.ones((24, 24))
    for seed in range(20):
        _, mask = insert_lesion(image, np.ones((24, 24), bool), 5, seed=seed)
        assert mask.sum() == pytest.approx(size_of(5, (1, 1)), abs=2)


def test_the_set_is_the_grid():
    image, brain = head((70, 74, 70))
    cases = list(lesion_set(image, brain, 1.0, seed=5))
    assert [(c.radius_mm, c.contrast, c.texture) for c in cases] == [
        (r, c, t) for r in RADII for c in CONTRASTS for t in TEXTURES
    ]
    for case in cases:
        assert case.mask.sum() == pytest.approx(size_of(case.radius_mm, (1, 1, 1)), abs=2)
        difference = (case.image - image)[case.mask]
        assert (np.mean(difference) > 0) == (case.contrast > 0) or case.texture == "rim"
    some = list(lesion_set(image, brain, 1.0, seed=5, radii=[6.0], contrasts=[-0.5], textures=["rim"], repeats=2))
    same = next(c for c in cases if (c.radius_mm, c.contrast, c.texture) == (6.0, -0.5, "rim"))
    assert np.array_equal(some[0].image, same.image) and np.array_equal(some[0].mask, same.mask)
    assert not np.array_equal(some[1].mask, same.mask)
    other = next(lesion_set(image, brain, 1.0, seed=6, radii=[6.0], contrasts=[-0.5], textures=["rim"]))
    assert not np.array_equal(other.mask, same.mask)


def test_bad_input_is_refused():
    image, brain = head()
    with pytest.raises(InputError, match="no room for a lesion of radius 30 mm"):
        insert_lesion(image, brain, 30)
    with pytest.raises(InputError, match="no room"):
        insert_lesion(image, np.zeros_like(brain), 3)
    with pytest.raises(InputError, match="one shape"):
        insert_lesion(image, brain[1:], 3)
    with pytest.raises(InputError, match="2D or 3D"):
        insert_lesion(np.ones(9), np.ones(9, bool), 1)
    for spacing in (0, -1, (1, 1), (1, np.nan, 1)):
        with pytest.raises(InputError, match="spacing"):
            insert_lesion(image, brain, 5, spacing=spacing)
    for wrong in ({"radius_mm": 0}, {"radius_mm": np.nan}, {"radius_mm": 5, "edge_mm": 0}):
        with pytest.raises(InputError, match="are positive"):
            insert_lesion(image, brain, **wrong)
    for contrast in (0, -1.1, np.nan):
        with pytest.raises(InputError, match="contrast"):
            insert_lesion(image, brain, 5, contrast)
    with pytest.raises(InputError, match="flat, rim, noise"):
        insert_lesion(image, brain, 5, 0.5, "spotted")
    with pytest.raises(InputError, match="at least one lesion"):
        insert_lesion(image, brain, 5, count=0)
    with pytest.raises(InputError, match="smaller than a voxel"):
        insert_lesion(image, brain, 1, spacing=5)
    for level in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="must be positive"):
            insert_lesion(np.full(image.shape, level), brain, 5)


def test_filling_takes_a_lesion_out_and_leaves_the_rest():
    image, brain = head(noise=0.02)
    with_lesion, lesion = insert_lesion(image, brain, 4.0, 0.6, seed=3)
    mended = filled(with_lesion, lesion, brain, margin=2)
    assert np.abs(mended[lesion] - 100).max() < 12 < np.abs(with_lesion[lesion] - 100).mean()
    far = ~binary_dilation(lesion, iterations=2)
    assert np.array_equal(mended[far], with_lesion[far])
    assert np.array_equal(filled(image, np.zeros_like(brain), brain), image)


def test_filling_at_the_rim_is_not_darkened_by_what_lies_outside():
    image, brain = head()
    rim = np.zeros_like(brain)
    rim[22:27, 24:28, np.flatnonzero(brain[24, 26])[-3:]] = True
    spoilt = np.where(rim & brain, 300.0, image).astype(np.float32)
    mended = filled(spoilt, rim & brain, brain)
    assert np.abs(mended[brain] - 100).max() < 1 and not mended[~brain].any()
    with pytest.raises(InputError, match="differ in shape"):
        filled(image, rim[1:], brain)

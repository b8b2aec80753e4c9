"""Properties that every sampling mask must have."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.operators.masks import (
    effective_acceleration,
    equispaced,
    gaussian_1d,
    make_mask,
    poisson_disk_2d,
    uniform_1d,
)

LINES = ["gaussian1d", "uniform1d", "equispaced"]
KINDS = [*LINES, "poisson2d"]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def block(n, fraction):
    count = max(1, round(fraction * n))
    return slice(n // 2 - count // 2, n // 2 - count // 2 + count)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(KINDS), st.integers(16, 80), st.integers(16, 80), st.floats(1, 6), st.floats(0.01, 0.16), st.integers(0, 9)
)
def test_budget_centre_and_seed(kind, height, width, acceleration, fraction, seed):
    mask = make_mask(kind, (height, width), acceleration, fraction, seeded(seed))
    assert mask.shape == (height, width)
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    if kind == "poisson2d":
        assert int(mask.sum()) == round(height * width / acceleration)
        assert effective_acceleration(mask) == pytest.approx(acceleration, rel=0.03)
        assert mask[block(height, fraction), block(width, fraction)].min() == 1
    else:
        assert int(mask.sum()) == height * max(1, round(width / acceleration))
        assert mask[:, block(width, fraction)].min() == 1
        assert torch.equal(mask, mask[:1].expand_as(mask))
    assert torch.equal(mask, make_mask(kind, (height, width), acceleration, fraction, seeded(seed)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("acceleration", [4, 8])
def test_effective_acceleration_and_different_seeds(kind, acceleration):
    masks = [make_mask(kind, (64, 256), acceleration, 0.04, seeded(seed)) for seed in range(6)]
    assert all(effective_acceleration(m) == pytest.approx(acceleration, rel=0.03) for m in masks)
    different = sum(not torch.equal(masks[0], m) for m in masks[1:])
    assert different >= 4  # equispaced has only as many masks as there are offsets


@pytest.mark.parametrize("kind", KINDS)
def test_acceleration_one_measures_everything(kind):
    assert make_mask(kind, (17, 12), 1, 0.2, seeded(0)).min() == 1


@pytest.mark.parametrize("kind", LINES)
def test_axis_and_dimensions(kind):
    function = {"gaussian1d": gaussian_1d, "uniform1d": uniform_1d, "equispaced": equispaced}[kind]
    last = function((20, 32), 4, 0.1, seeded(2))
    first = function((32, 20), 4, 0.1, seeded(2), axis=0)
    assert torch.equal(first, last.mT)
    volume = function((4, 32, 20), 4, 0.1, seeded(2), axis=1)
    assert torch.equal(volume, first[None].expand(4, -1, -1))
    assert function((32,), 4, 0.1, seeded(2)).shape == (32,)


def test_gaussian_density_has_the_stated_spread():
    n, offsets = 256, []
    for seed in range(60):
        lines = gaussian_1d((n,), 16, 1 / n, seeded(seed))
        offsets.append(torch.nonzero(lines).flatten().double() - n // 2)
    offsets = torch.cat(offsets)
    # without replacement the draws crowd outwards a little: 15 lines of sd 30 stay within 15 %
    assert float(offsets.std()) == pytest.approx(15 * n / 128, rel=0.15)
    assert abs(float(offsets.mean())) < 4


def test_uniform_density_is_even():
    count = sum(uniform_1d((64,), 4, 1 / 64, seeded(seed)) for seed in range(400)) / 400
    outer = torch.cat([count[:32], count[33:]])
    assert float((outer - 15 / 63).abs().max()) < 0.1


def test_equispaced_steps_are_even():
    lines = equispaced((256,), 4, 0.08, seeded(3))
    left = torch.nonzero(lines[: block(256, 0.08).start]).flatten().diff()
    assert int(left.max() - left.min()) <= 1


def test_poisson_samples_keep_their_distance():
    height, width, slope = 48, 64, 2.0
    mask = poisson_disk_2d((height, width), 6, 0.1, seeded(1), slope)
    mask[block(height, 0.1), block(width, 0.1)] = 0
    points = torch.nonzero(mask).double()
    k = (points - torch.tensor([height // 2, width // 2])) / torch.tensor([height / 2, width / 2])
    growth = 1 + slope * k.norm(dim=1)
    distance = torch.cdist(points, points) + 1e9 * torch.eye(len(points), dtype=torch.float64)
    ratio = distance / torch.minimum(growth[:, None], growth[None, :])
    radius = float(ratio.min())
    # random points come as near as one sample; a disk of r at the centre means 2 r or more at the rim
    rim = distance[k.norm(dim=1) > 0.9].min()
    assert float(rim) >= 1.9 * radius
    assert float(rim) > 2


def test_poisson_density_falls_outwards():
    mask = poisson_disk_2d((128, 128), 8, 0.05, seeded(0))
    inner, outer = mask[48:80, 48:80].mean(), torch.cat([mask[:16].flatten(), mask[-16:].flatten()]).mean()
    assert float(inner) > 2.5 * float(outer)
    assert float(outer) > 0.03


def test_poisson_is_quick():
    start = time.perf_counter()
    poisson_disk_2d((256, 256), 4, 0.08, seeded(0))
    assert time.perf_counter() - start < 5  # takes 0.2 s; the margin is for a loaded machine


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "acceleration", "fraction", "message"),
    [
        ((32, 32), 0.9, 0.08, "acceleration must be at least 1"),
        ((32, 32), float("nan"), 0.08, "acceleration must be at least 1"),
        ((32, 32), float("inf"), 0.08, "acceleration must be at least 1"),
        ((32, 32), 4, 0.0, r"center_fraction must lie in \(0, 1\)"),
        ((32, 32), 4, 1.0, r"center_fraction must lie in \(0, 1\)"),
        ((32, 32), 4, 0.6, "more than acceleration 4 allows"),
        ((32, 7), 2, 0.1, "at least 8 lines"),
    ],
)
def test_bad_input_is_refused(kind, shape, acceleration, fraction, message):
    with pytest.raises(ValueError, match=message):
        make_mask(kind, shape, acceleration, fraction, seeded(0))


def test_unknown_kind_names_the_nearest():
    with pytest.raises(ValueError, match="'gausian1d'; did you mean 'gaussian1d'"):
        make_mask("gausian1d", (32, 32), 4, 0.08, seeded(0))
    with pytest.raises(ValueError, match="known: gaussian1d, uniform1d, equispaced, poisson2d"):
        make_mask("%", (32, 32), 4, 0.08, seeded(0))


def test_other_refusals():
    with pytest.raises(ValueError, match="2D"):
        poisson_disk_2d((16, 16, 16), 4, 0.1, seeded(0))
    with pytest.raises(ValueError, match="measures nothing"):
        effective_acceleration(torch.zeros(4, 4))

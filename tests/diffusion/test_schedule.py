import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.diffusion import schedule


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.floats(1e-3, 0.5), st.floats(1.0, 400.0))
def test_grids_fall_from_high_to_low_to_zero(steps, low, high):
    for grid in (schedule.karras(steps, low, high), schedule.log_snr(steps, low, high)):
        assert len(grid) == steps + 1 and all(isinstance(s, float) for s in grid)
        assert grid[0] == pytest.approx(high) and grid[-1] == 0 and all(a > b for a, b in pairwise(grid))
        if steps > 1:
            assert grid[-2] == pytest.approx(low)


def test_spacing():
    roots = [s ** (1 / 7) for s in schedule.karras(9)[:-1]]
    ratios = [a / b for a, b in zip(schedule.log_snr(9)[:-2], schedule.log_snr(9)[1:-1], strict=True)]
    assert max(a - b for a, b in pairwise(roots)) == pytest.approx((roots[0] - roots[-1]) / 8)
    assert ratios == pytest.approx([(80 / 0.002) ** (1 / 8)] * 8)


def test_published_table_values():
    linear = schedule.linear_alphas()
    assert float(linear[-1]) == pytest.approx(4.04e-5, rel=2e-3) and float(linear[0]) == pytest.approx(1 - 1e-4)
    assert float(linear[499]) == pytest.approx(0.0786, rel=2e-2)
    half = schedule.linear_alphas(500)
    assert float(1 - half[0]) == pytest.approx(2e-4) and float(half[-1]) == pytest.approx(4.04e-5, rel=0.1)
    scaled = schedule.scaled_linear_alphas()
    assert float(1 - scaled[0]) == pytest.approx(8.5e-4) and float(1 - scaled[-1] / scaled[-2]) == pytest.approx(0.012)


def test_cosine_is_clipped():
    bar = schedule.cosine_alphas()
    betas = 1 - bar / torch.cat([torch.ones(1, dtype=bar.dtype), bar[:-1]])
    assert betas.max() == pytest.approx(0.999) and (betas > 0).all() and bar[-1] > 0

    def f(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    assert float(bar[499]) == pytest.approx(f(0.5) / f(0))


@pytest.mark.parametrize("steps", [1, 7, 50, 1000, None])
def test_grid_of_a_table(steps):
    table = schedule.sigmas_of(schedule.linear_alphas()).tolist()
    grid = schedule.from_alphas(schedule.linear_alphas(), steps)
    assert len(grid) == (steps or 1000) + 1 and grid[0] == table[-1] and grid[-1] == 0
    assert set(grid[:-1]) <= set(table) and (steps == 1 or grid[-2] == table[0])
    with pytest.raises(ValueError, match="1001 steps"):
        schedule.from_alphas(schedule.linear_alphas(), 1001)


def test_time_travel():
    assert schedule.time_travel([5.0, 4.0, 3.0, 2.0, 0.0], 1, 1) == [5, 4, 3, 2, 0]
    assert schedule.time_travel([5.0, 4.0, 3.0, 2.0, 0.0], 2, 2) == [5, 4, 3, 5, 4, 3, 2, 3, 2, 0]
    assert schedule.time_travel([5.0, 4.0, 3.0, 0.0], 1, 3) == [5, 4, 5, 4, 5, 4, 3, 4, 3, 4, 3, 0]
    with pytest.raises(ValueError, match="length"):
        schedule.time_travel([1.0, 0.0], 0, 1)


def test_moments_of_the_training_levels():
    def logs(draw):
        return draw(40000, torch.Generator().manual_seed(0)).double().log()

    normal = logs(schedule.lognormal(-0.7, 1.4))
    assert float(normal.mean()) == pytest.approx(-0.7, abs=0.03) and float(normal.std()) == pytest.approx(1.4, abs=0.03)
    skew = ((normal - normal.mean()) ** 3).mean() / normal.std() ** 3
    assert abs(float(skew)) < 0.05
    uniform = logs(schedule.loguniform(0.01, 10.0))
    width = math.log(1000)
    assert float(uniform.mean()) == pytest.approx(math.log(0.01) + width / 2, abs=0.05)
    assert float(uniform.std()) == pytest.approx(width / math.sqrt(12), abs=0.03)
    assert uniform.min() >= math.log(0.01) - 1e-6 and uniform.max() <= math.log(10.0) + 1e-6


def test_discrete_and_mixture():
    generator = torch.Generator().manual_seed(0)
    draws = schedule.discrete([3.0, 2.0, 1.0, 0.0])(30000, generator)
    counts = [(draws == v).double().mean().item() for v in (1, 2, 3)]
    assert counts == pytest.approx([1 / 3] * 3, abs=0.02)
    mixed = schedule.mixture(schedule.discrete([1.0, 0.0]), schedule.discrete([9.0, 0.0]), 0.2)(30000, generator)
    assert float((mixed == 9).double().mean()) == pytest.approx(0.2, abs=0.02)
    same = [schedule.lognormal()(5, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*same)


def test_bad_grids():
    for call in (lambda: schedule.karras(0), lambda: schedule.log_snr(5, 2.0, 1.0), lambda: schedule.loguniform(0.0, 1.0)):
        with pytest.raises(ValueError, match="grid needs"):
            call()
    with pytest.raises(ValueError, match="share"):
        schedule.mixture(schedule.lognormal(), schedule.lognormal(), 1.5)

"""Calibration region, sensitivity maps and phase, on simulated acquisitions whose truth is known."""

import pytest
import torch

from diffzoo.imaging.simulate import birdcage_maps, phase_map, simulate_kspace
from diffzoo.operators.coils import (
    calibration_region,
    combine,
    estimate_maps,
    low_frequency_phase,
    low_resolution,
    root_sum_of_squares,
)
from diffzoo.operators.fourier import SenseFourier, complex_of, from_centred, ifft, pairs_of, uncentre
from diffzoo.operators.masks import make_mask


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def head(height=96, width=88):
    """A bright rim, a grey inside and a few structures, [1, H, W]."""
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None, :]

    def ellipse(cy, cx, ry, rx):
        return (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1).float()

    image = ellipse(0, 0, 0.85, 0.75) - 0.5 * ellipse(0, 0, 0.78, 0.68)
    image = (
        image + 0.3 * ellipse(0.2, 0.3, 0.25, 0.12) - 0.3 * ellipse(-0.2, -0.2, 0.3, 0.15) + 0.4 * ellipse(-0.4, 0.3, 0.1, 0.1)
    )
    return image[None]


def acquire(coils, kind="gaussian1d", noise=0.01, acceleration=4, fraction=0.16, seed=0):
    """Undersampled k-space, mask (both un-centred) and the noise-free coil images."""
    image = head()
    kspace = pairs_of(from_centred(simulate_kspace(image, coils, noise, seeded(seed))))
    truth = pairs_of(ifft(from_centred(simulate_kspace(image, coils, 0.0, seeded(seed)))))
    mask = uncentre(make_mask(kind, image.shape[1:], acceleration, fraction, seeded(seed)))[None, None]
    return kspace * mask, mask, truth


def error(images, truth):
    return float((images - truth).norm() / truth.norm())


def expand(maps, x):
    """S x as pairs."""
    return pairs_of(complex_of(maps) * complex_of(x))


@pytest.mark.parametrize("kind", ["gaussian1d", "poisson2d"])
@pytest.mark.parametrize("coils", [4, 8])
def test_maps_explain_the_true_coil_images(kind, coils):
    kspace, mask, truth = acquire(coils, kind)
    maps = estimate_maps(kspace, mask)
    found = error(expand(maps, combine(truth, maps)), truth)
    low = low_resolution(kspace, mask)
    plain = low / root_sum_of_squares(low)
    assert found < 0.02
    assert found < 0.6 * error(expand(plain, combine(truth, plain)), truth)


def test_maps_match_the_true_ones_in_size_and_phase():
    kspace, mask, truth = acquire(6)
    maps = complex_of(estimate_maps(kspace, mask))
    exact = birdcage_maps(6, (96, 88))[None]
    inside = root_sum_of_squares(truth)[:, 0] > 0.2
    assert float((maps.abs() - exact.abs()).abs().amax(1)[inside].max()) < 0.05
    # up to one phase a pixel, common to the coils
    agreement = (maps.conj() * exact).sum(1).abs()[inside]
    assert float(agreement.min()) > 0.99
    norm = maps.abs().square().sum(1)
    assert float((norm[inside] - 1).abs().max()) < 0.02
    assert float(norm.max()) < 1 + 1e-5
    assert float(norm[:, 0, 0].max()) < 0.95  # empty background fades


def test_combined_image_is_magnitude_like():
    kspace, mask, truth = acquire(4, noise=0.0)
    x = combine(truth, estimate_maps(kspace, mask))
    magnitude = root_sum_of_squares(truth)
    assert float((x[:, :1] - magnitude).norm() / magnitude.norm()) < 0.02
    assert float(x[:, 1:].norm() / magnitude.norm()) < 0.06


def test_only_the_calibration_block_is_used():
    kspace, mask, _ = acquire(4)
    rows, columns = calibration_region(mask)
    inside = torch.zeros(mask.shape[-2:])
    inside[rows, columns] = 1
    outside = 1 - uncentre(inside)
    noise = torch.randn(kspace.shape, generator=seeded(9))
    assert torch.equal(estimate_maps(kspace + 5 * outside * noise, mask), estimate_maps(kspace, mask))
    assert torch.equal(low_frequency_phase(kspace + 5 * outside * noise, mask), low_frequency_phase(kspace, mask))


def test_sense_with_estimated_maps_beats_zero_filling():
    kspace, mask, truth = acquire(8, "equispaced", noise=0.0, acceleration=3)
    magnitude = root_sum_of_squares(truth)
    zero_filled = root_sum_of_squares(pairs_of(ifft(complex_of(kspace))))
    operator = SenseFourier(mask, estimate_maps(kspace, mask))
    found = root_sum_of_squares(expand(estimate_maps(kspace, mask), operator.solve(operator.AT(kspace), 1e-3)))
    assert error(zero_filled, magnitude) > 0.1
    assert error(found, magnitude) < 0.3 * error(zero_filled, magnitude)


def test_items_of_a_batch_do_not_meet():
    first, second = acquire(4), acquire(4, "poisson2d", seed=5)
    kspace, mask = (torch.cat(pair) for pair in zip(first[:2], second[:2], strict=True))
    for function in (estimate_maps, low_frequency_phase):
        together = function(kspace, mask)
        for i, item in enumerate((first, second)):
            assert torch.allclose(together[i], function(*item[:2])[0], atol=1e-4)


def test_single_coil_phase_makes_the_image_real():
    image = head()
    phase = phase_map(image.shape, seeded(3), 1.5)[0]
    kspace = pairs_of(from_centred(simulate_kspace(image, 1, 0.0, seeded(3), 1.5)))
    mask = uncentre(make_mask("gaussian1d", image.shape[1:], 4, 0.16, seeded(3)))[None, None]
    found = low_frequency_phase(kspace * mask, mask)
    assert found.shape == (1, 2, 96, 88)
    assert torch.allclose(found.square().sum(1), torch.ones(1, 96, 88), atol=1e-5)
    true = phase * birdcage_maps(1, image.shape[1:])[0]
    inside = image[0] > 0.1
    assert float((complex_of(found)[0, 0] * true.conj()).angle()[inside].abs().quantile(0.95)) < 0.15
    flat = combine(pairs_of(ifft(complex_of(kspace))), found)
    assert float(flat[:, 1].norm() / flat.norm()) < 0.1
    maps = estimate_maps(kspace * mask, mask)
    assert float((maps - found).square().sum(1)[0][inside].max()) < 0.01


def test_phase_of_several_coils():
    kspace, mask, _ = acquire(4)
    each = low_frequency_phase(kspace, mask)
    assert each.shape == kspace.shape
    assert torch.allclose(each[:, 2:4], low_frequency_phase(kspace[:, 2:4], mask), atol=1e-5)
    combined = low_frequency_phase(kspace, mask, estimate_maps(kspace, mask))
    assert combined.shape == (1, 2, 96, 88)
    assert float((combined[:, 0] - 1).abs().max()) < 1e-3  # the maps carry it already


def test_an_empty_slice_gives_finite_maps():
    kspace, mask, _ = acquire(4)
    both = torch.cat([kspace, torch.zeros_like(kspace)])
    maps = estimate_maps(both, mask)
    assert maps.isfinite().all()
    assert low_frequency_phase(both, mask).isfinite().all()
    assert maps[1].abs().max() == 0


@pytest.mark.parametrize(("height", "width", "count"), [(12, 16, 5), (13, 17, 6), (12, 17, 4), (9, 16, 16)])
def test_calibration_region_of_lines(height, width, count):
    lines = torch.zeros(width)
    start = width // 2 - count // 2
    lines[start : start + count] = 1
    if count < width:
        lines[0], lines[-1] = 1, 1  # outside the block
        assert lines[start - 1] == 0 or start == 0
    mask = uncentre(lines.expand(height, width))
    assert calibration_region(mask[None, None]) == (slice(0, height), slice(start, start + count))


def test_calibration_region_takes_the_largest_block():
    grid = torch.zeros(20, 20)
    grid[8:12, 2:18] = 1  # 4 x 16
    grid[5:15, 6:14] = 1  # 10 x 8, larger
    assert calibration_region(uncentre(grid)) == (slice(5, 15), slice(6, 14))
    grid[8:12] = 1  # 4 x 20 = 80 = 10 x 8: either is largest
    rows, columns = calibration_region(uncentre(grid))
    assert (rows.stop - rows.start) * (columns.stop - columns.start) == 80
    assert grid[rows, columns].min() == 1


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_calibration_lines_are_refused(count):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8 - count // 2 : 8 - count // 2 + count] = 1
    mask[..., 0] = 1
    mask = uncentre(mask)
    with pytest.raises(ValueError, match="calibration needs 4 x 4"):
        calibration_region(mask)
    with pytest.raises(ValueError, match="calibration needs 4 x 4"):
        estimate_maps(torch.ones(1, 8, 16, 16), mask)


@pytest.mark.parametrize("shape", [(1, 1, 16, 12), (2, 1, 16, 16), (16, 16)])
def test_mask_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match="does not fit k-space"):
        low_frequency_phase(torch.ones(3, 8, 16, 16), torch.ones(shape))

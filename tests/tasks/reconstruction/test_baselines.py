"""Total variation by FISTA: its objective falls to the minimum, and flat regions come back."""

import pytest
import torch
from slices_toy import coil_case, phantom, psnr, real_case

from diffzoo.operators.base import Identity
from diffzoo.operators.fourier import uncentre
from diffzoo.tasks.reconstruction.baselines import CHANGE, total_variation, tuned
from diffzoo.tasks.reconstruction.measured import forward_model, kspace_of, zero_filled


def objective(op, y, x, weight):
    """|A x - y|^2 / 2 + weight TV(x), TV isotropic with forward differences and nothing beyond the border."""
    down = torch.diff(x, dim=2, append=x[:, :, -1:])
    right = torch.diff(x, dim=3, append=x[..., -1:])
    return 0.5 * (op.A(x) - y).pow(2).flatten(1).sum(1) + weight * (down**2 + right**2).sqrt().flatten(1).sum(1)


def real_problem():
    image, mask, truth = real_case()
    low = uncentre(mask)
    y = kspace_of(image[0].movedim(-1, 0), low)
    return forward_model(y, low, real=True), y, truth


def test_the_objective_falls_to_that_of_a_long_run():
    op, y, _ = real_problem()
    weight = 0.01
    start = objective(op, y, op.pinv(y), weight)
    runs = [objective(op, y, total_variation(op, y, weight, n), weight) for n in (3, 15, 60)]
    best = objective(op, y, total_variation(op, y, weight, 300, inner=100), weight)
    assert (start > runs[0]).all() and (runs[0] > runs[1]).all() and (runs[1] > runs[2] - 1e-4 * best).all()
    assert ((runs[2] - best) / best < 0.01).all()


def test_the_shipped_setting_has_converged():
    """The relative change of its last step is below the bound, and twice as many steps give the same picture."""
    op, y, truth = real_problem()
    found, longer = (total_variation(op, y, 0.002, **more) for more in ({}, {"iterations": 1000, "tolerance": CHANGE / 10}))
    assert (found - longer).norm() < 0.01 * longer.norm()
    assert abs(psnr(found.movedim(0, -1)[None], truth) - psnr(longer.movedim(0, -1)[None], truth)) < 0.1


def test_an_item_stops_by_itself():
    op, y, _ = real_problem()
    mixed = torch.cat([y[:1], 0.2 * y[1:2]])
    together = total_variation(op, mixed, 0.002, tolerance=1e-3)
    for i in range(2):
        torch.testing.assert_close(
            total_variation(op, mixed[i : i + 1], 0.002, tolerance=1e-3), together[i : i + 1], rtol=0, atol=1e-6
        )


def test_a_weight_is_that_of_the_acquisition():
    table = {"default": 0.002, "gaussian1d 4": 0.001, "90 100000": 0.004}
    assert tuned(table, ["gaussian1d", 4.0]) == 0.001 and tuned(table, ["gaussian1d", 8]) == 0.002
    assert tuned(table, [90.0, 1e5]) == 0.004 and tuned(table, ["gaussian1d", 4], 0.5) == 0.5
    assert tuned(table, ["gaussian1d", 4], None) is None
    with pytest.raises(ValueError, match="needs an entry 'default'"):
        tuned({}, ["a"])


def test_no_small_change_lowers_the_objective():
    """At the minimum of a convex function every perturbation costs."""
    op, y, _ = real_problem()
    x = total_variation(op, y, 0.01, 300, inner=200)
    least = objective(op, y, x, 0.01)
    generator = torch.Generator().manual_seed(0)
    for size in (0.1, 0.01):
        for _ in range(5):
            step = size * torch.randn(x.shape, generator=generator)
            assert (objective(op, y, x + step, 0.01) > least).all()
    assert (objective(op, y, 0.999 * x, 0.01) > least * (1 - 1e-5)).all()


def test_flat_regions_come_back_far_better_than_by_zero_filling():
    op, y, truth = real_problem()
    x = op.magnitude(total_variation(op, y, 0.002, 150))
    low = op.mask
    assert psnr(x.movedim(0, -1)[None], truth) > psnr(zero_filled(y, low).movedim(0, -1)[None], truth) + 8


def test_sense_data_are_fitted_too():
    image, mask, truth = coil_case(4, slices=1)
    low = uncentre(mask)
    y = kspace_of(image[0].movedim(-1, 0), low)
    op = forward_model(y, low, real=False)
    x = op.magnitude(total_variation(op, y, 0.002, 60))
    assert psnr(x.movedim(0, -1)[None], truth) > psnr(zero_filled(y, low).movedim(0, -1)[None], truth) + 8


def test_a_step_image_is_denoised_as_theory_says():
    """For A = 1 a wide edge keeps its place and each side moves by weight x (length of the edge) / (area of the side)."""
    image = torch.zeros(1, 1, 20, 16)
    image[..., 10:] = 1
    x = total_variation(Identity(), image, 0.2, 100, inner=200)
    low, high = x[..., :10], x[..., 10:]
    assert low.mean() == pytest.approx(0.2 / 10, abs=1e-3) and low.std() < 5e-3
    assert high.mean() == pytest.approx(1 - 0.2 / 6, abs=1e-3) and high.std() < 5e-3


def test_slices_and_channels_are_apart():
    op, y, _ = real_problem()
    together = total_variation(op, y, 0.01, 5)
    for i in range(len(y)):
        torch.testing.assert_close(total_variation(op, y[i : i + 1], 0.01, 5), together[i : i + 1], rtol=0, atol=1e-6)


def test_almost_no_weight_leaves_the_data():
    op, y, _ = real_problem()
    x = total_variation(op, y, 1e-6, 20)
    assert (op.A(x) - y).norm() < 1e-3 * y.norm()
    assert x.dtype == y.dtype
    assert phantom().shape[0] == len(x)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_scaling_data_and_weight_scales_the_image(scale):
    op, y, _ = real_problem()
    torch.testing.assert_close(
        total_variation(op, scale * y, scale * 0.01, 5), scale * total_variation(op, y, 0.01, 5), rtol=1e-3, atol=1e-3 * scale
    )

"""Reconstruction of slice stacks: measured data are kept, slices do not depend on their batch, seeds and counts are right."""

import pytest
import torch
from monai.networks.layers import GaussianFilter
from slices_toy import SIZE, Median, Smooth, coil_case, psnr, real_case, reconstruct, solver

from diffzoo.diffusion.posterior import pocs
from diffzoo.diffusion.stochastic import ancestral, predictor_corrector
from diffzoo.operators.coils import low_frequency_phase, root_sum_of_squares
from diffzoo.operators.fourier import complex_of, fft, pairs_of, uncentre
from diffzoo.tasks.reconstruct_mri.kspace import KSpace
from diffzoo.tasks.reconstruction.inferer import spread
from diffzoo.tasks.reconstruction.measured import kspace_of, zero_filled

CASES = {
    "real": (lambda: real_case(), "sense"),
    "single": (lambda: coil_case(1), "sense"),
    "sense": (lambda: coil_case(4), "sense"),
    "ssos": (lambda: coil_case(4), "ssos"),
    "hybrid": (lambda: coil_case(4), "hybrid"),
}
EXACT = [name for name in CASES if name != "sense"]


def measured(image, mask):
    """k-space [D, 2 C, H, W] of a case, and its un-centred mask."""
    low = uncentre(mask)
    return kspace_of(image[0].movedim(-1, 0), low), low


class Recorder:
    """A sampler that keeps the states that it returns."""

    def __init__(self, sampler) -> None:
        self.sampler, self.states = sampler, []

    def __call__(self, *args, **options):
        self.states.append(self.sampler(*args, **options))
        return self.states[-1]


def recorded(**options):
    """A solver, and the list of states that its sampler will have returned."""
    plain = solver(**options)
    recorder = Recorder(plain.sampler)
    object.__setattr__(plain, "sampler", recorder)
    return plain, recorder.states


@pytest.mark.parametrize("name", CASES)
def test_a_prior_of_flat_regions_beats_zero_filling(name):
    make, coils = CASES[name]
    image, mask, truth = make()
    found = reconstruct(coils=coils, solver=solver(steps=20))(image, Median(), mask=mask)
    assert found.shape == (1, 1, *SIZE, 3)
    y, low = measured(image, mask)
    assert psnr(found, truth) > psnr(zero_filled(y, low).movedim(0, -1)[None], truth) + 5


@pytest.mark.parametrize("name", EXACT)
def test_measured_data_are_kept(name):
    make, coils = CASES[name]
    image, mask, _ = make()
    inferer = reconstruct(coils=coils)
    inferer(image, Smooth(), mask=mask)
    assert inferer.stats["data_residual"] < 1e-5


def test_measured_kspace_of_the_real_result_is_the_input():
    image, mask, _ = real_case()
    found = reconstruct()(image, Smooth(), mask=mask)
    y, low = measured(image, mask)
    torch.testing.assert_close(low * pairs_of(fft(found[0].movedim(-1, 0))), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_boxes_around_the_head_change_little_and_no_slice_depends_on_its_batch(name):
    """Real, complex and many coils: outside the box the network says 0, and the data rule has the last word everywhere."""
    make, coils = CASES[name]
    image, mask, truth = make()
    whole, boxed = (reconstruct(coils=coils, background=share)(image, Median(), mask=mask) for share in (0.0, 0.1))
    assert psnr(boxed, truth) > psnr(whole, truth) - 0.5
    one, many = (reconstruct(coils, True, 0.1, slice_batch=n)(image, Smooth(), mask=mask) for n in (1, 3))
    torch.testing.assert_close(one, many, rtol=0, atol=1e-5)


def test_a_box_is_where_the_coarse_image_is_not_dark():
    image, mask, truth = real_case()
    y, low = measured(image, mask)
    extent = KSpace(background=0.1).extent(y, low)
    assert extent.shape == (3, 1, *SIZE) and extent[truth > 0.5].all() and not extent.all()
    few = torch.zeros_like(low)
    few[..., :2] = 1  # two lines tell no image
    assert KSpace(background=0.1).extent(y * few, few).all()
    with pytest.raises(ValueError, match=r"lies in \[0, 1\), not at 1"):
        KSpace(background=1.0)


@pytest.mark.parametrize(("coils", "kind"), [(1, "sense"), (4, "ssos"), (4, "hybrid")])
def test_measured_kspace_of_complex_coil_images_is_the_input(coils, kind):
    """The state is the coil image without its low-frequency phase; with the phase back, its k-space is the measured one."""
    image, mask, _ = coil_case(coils)
    chosen, states = recorded()
    reconstruct(solver=chosen, coils=kind, slice_batch=8)(image, Smooth(), mask=mask)
    y, low = measured(image, mask)
    y = y.reshape(-1, 2, *SIZE)
    phase = complex_of(low_frequency_phase(y, low))
    torch.testing.assert_close(low * pairs_of(fft(complex_of(states[0]) * phase)), y, rtol=0, atol=1e-5)


def test_sense_solves_the_normal_equations():
    """With estimated maps no image has exactly the measured data; the one found is the best to one part in a thousand."""
    from diffzoo.tasks.reconstruction.measured import forward_model

    image, mask, _ = coil_case(4)
    chosen, states = recorded()
    inferer = reconstruct(solver=chosen, slice_batch=8)
    inferer(image, Smooth(), mask=mask)
    y, low = measured(image, mask)
    op = forward_model(y, low, real=False)
    slope = op.AT(op.A(states[0]) - y).flatten(1).norm(dim=1) / op.AT(y).flatten(1).norm(dim=1)
    assert slope.max() < 1e-3
    residual = (op.A(states[0]) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
    assert inferer.stats["data_residual"] == pytest.approx(float(residual.max()), rel=1e-4)
    assert residual.max() < 0.05


def test_sense_shows_the_root_sum_of_squares_of_its_coil_images():
    from diffzoo.tasks.reconstruction.measured import forward_model

    image, mask, truth = coil_case(4)
    chosen, states = recorded()
    found = reconstruct(solver=chosen, slice_batch=8)(image, Smooth(), mask=mask)[0].movedim(-1, 0)
    y, low = measured(image, mask)
    maps = torch.view_as_complex(forward_model(y, low, real=False).maps)
    coil_images = maps * complex_of(states[0])
    torch.testing.assert_close(found, root_sum_of_squares(pairs_of(coil_images)))
    outside = truth == 0
    assert (found - truth)[outside].norm() <= root_sum_of_squares(states[0])[outside].norm()


@pytest.mark.parametrize("name", CASES)
def test_a_slice_does_not_depend_on_its_batch(name):
    make, coils = CASES[name]
    image, mask, _ = make()
    options = {"coils": coils, "solver": solver(ancestral, start="noise"), "seed": 3}
    together = reconstruct(**options, slice_batch=4)(image, Smooth(), mask=mask)
    one_by_one = reconstruct(**options, slice_batch=1)(image, Smooth(), mask=mask)
    alone = reconstruct(**options)(image[..., 1:2], Smooth(), torch.tensor([[1]]), mask=mask)
    torch.testing.assert_close(one_by_one, together, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone, together[..., 1:2], rtol=0, atol=1e-5)


def test_noise_follows_the_slice_number_and_the_seed():
    image, mask, _ = real_case()
    same = image[..., :1].expand(-1, -1, -1, -1, 2)

    def run(index, seed=0):
        return reconstruct(solver=solver(ancestral, start="noise"), seed=seed)(same, Smooth(), torch.tensor([index]), mask=mask)

    first = run([5, 6])
    assert torch.equal(first, run([5, 6]))
    torch.testing.assert_close(first.flip(-1), run([6, 5]))
    torch.testing.assert_close(run([7, 7])[..., 0], run([7, 7])[..., 1])
    assert not torch.allclose(first[..., 0], first[..., 1], atol=1e-3)
    assert not torch.allclose(first, run([5, 6], seed=1), atol=1e-3)


@pytest.mark.parametrize(("name", "chains"), [("real", 1), ("single", 2), ("ssos", 8)])
def test_samples_add_a_spread_and_leave_the_image(name, chains):
    make, coils = CASES[name]
    image, mask, _ = make()
    options = {"coils": coils, "posterior": solver(ancestral, steps=4, start="noise")}
    several = reconstruct(**options, samples=3)
    found = several(image, Smooth(), mask=mask)
    assert found.shape == (1, 2, *SIZE, 3)
    assert torch.equal(found[:, :1], reconstruct(**options)(image, Smooth(), mask=mask))
    assert found[:, 1].min() >= 0 and found[:, 1].max() > 1e-3
    assert several.stats["network_calls"] == pytest.approx(chains * 6)


def test_the_image_may_be_the_mean_of_several_runs():
    image, mask, _ = real_case()
    chosen, states = recorded(sampler=ancestral, start="noise")
    several = reconstruct(solver=chosen, average=3, slice_batch=8)
    found = several(image, Smooth(), mask=mask)
    torch.testing.assert_close(found[0, 0].movedim(-1, 0)[:, None], torch.stack(states).mean(0))
    assert len(states) == 3 and not torch.allclose(states[0], states[1], atol=1e-3)
    assert several.stats["network_calls"] == 18 and several.workload() == "18 steps a slice"
    alone = reconstruct(solver=solver(ancestral, start="noise"))(image, Smooth(), mask=mask)
    torch.testing.assert_close(alone[0, 0].movedim(-1, 0)[:, None], states[0])  # the first run is the one without averaging


def test_the_spread_is_that_of_independent_draws():
    image, mask, _ = coil_case(1)
    posterior, states = recorded(sampler=ancestral, steps=4, start="noise")
    found = reconstruct(posterior=posterior, samples=4, slice_batch=8)(image, Smooth(), mask=mask)
    draws = torch.stack([root_sum_of_squares(state) for state in states])
    assert len(states) == 4
    torch.testing.assert_close(found[0, 1].movedim(-1, 0)[:, None], draws.std(0), rtol=1e-4, atol=1e-6)
    y, low = measured(image, mask)
    phase = complex_of(low_frequency_phase(y, low))
    spread = torch.stack([pairs_of(fft(complex_of(state) * phase)) for state in states]).std(0)
    assert (low * spread).max() < 1e-5  # what was measured is the same in each draw
    assert ((1 - low) * spread).max() > 1e-2


def test_the_smoothed_spread_pools_the_variance_of_neighbours():
    draws = torch.randn(8, 1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    rough, smooth = spread(draws, 0.0), spread(draws, 2.0)
    torch.testing.assert_close(rough, draws.std(0))
    inside = (..., slice(10, -10), slice(10, -10))
    assert smooth[inside].square().mean() == pytest.approx(float(rough[inside].square().mean()), rel=0.05)
    assert torch.allclose(
        spread(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1, 1).expand(2, 1, 1, 9, 9), 2.0), torch.tensor(2**0.5)
    )
    assert (smooth[inside] - 1).square().mean() < 0.1 * (rough[inside] - 1).square().mean()  # the truth is 1


def test_smoothing_changes_the_spread_and_not_the_image():
    image, mask, _ = real_case()
    options = {"posterior": solver(ancestral, steps=4, start="noise"), "samples": 3}
    plain, pooled = (reconstruct(**options, std_smoothing=s)(image, Smooth(), mask=mask) for s in (0.0, 2.0))
    assert torch.equal(plain[:, :1], pooled[:, :1])
    rough = plain[0, 1].movedim(-1, 0)[:, None].square()
    pool = GaussianFilter(2, 2.0)
    variance = pool(rough) / pool(torch.ones_like(rough))
    torch.testing.assert_close(pooled[0, 1].movedim(-1, 0)[:, None], variance.sqrt(), rtol=1e-4, atol=1e-6)


def test_progress_counts_every_step_of_every_batch():
    image, mask, _ = real_case(5)
    seen = []
    inferer = reconstruct(
        posterior=solver(ancestral, steps=4, start="noise"), samples=2, progress=lambda *told: seen.append(told[:2])
    )
    inferer(image, Smooth(), mask=mask)
    total = 3 * (6 + 2 * 4)  # batches of two slices, the image's steps and those of two draws
    assert seen == [(k, total) for k in range(1, total + 1)]
    assert inferer.stats["seconds"] > 0
    assert inferer.workload() == "14 steps a slice (image and 2 posterior draws)"
    assert reconstruct().workload() == "6 steps a slice"


def test_a_published_style_sampler_counts_two_calls_a_step_and_keeps_the_data():
    image, mask, _ = coil_case(1)
    inferer = reconstruct(solver=solver(predictor_corrector, rule=None, constraint=pocs, start="noise"))
    inferer(image, Smooth(), mask=mask)
    assert inferer.stats["network_calls"] == 2 * (6 + 5)  # two channels; the step to 0 has no corrector
    assert inferer.stats["data_residual"] < 1e-5


def test_hybrid_makes_coils_agree():
    """Coil images that are maps times one image have a low rank over coils in each pixel's neighbourhood; the SENSE step
    lowers what the maps cannot explain."""
    from diffzoo.operators.coils import combine, estimate_maps

    image, mask, _ = coil_case(4)
    y, low = measured(image, mask)
    maps, misfit = complex_of(estimate_maps(y, low)), {}
    for kind in ("ssos", "hybrid"):
        chosen, states = recorded(steps=8)
        reconstruct(solver=chosen, coils=kind, slice_batch=8)(image, Smooth(), mask=mask)
        phase = complex_of(low_frequency_phase(y.reshape(-1, 2, *SIZE), low))
        images = (complex_of(states[0]) * phase).reshape(3, 4, *SIZE)
        one = complex_of(combine(pairs_of(images), pairs_of(maps)))
        misfit[kind] = (images - maps * one).abs().square().sum().sqrt()
    assert misfit["hybrid"] < 0.95 * misfit["ssos"]


def test_the_sense_step_of_the_hybrid_weakens_along_the_grid(monkeypatch):
    """With a SENSE operator whose data are 0 and whose adjoint is 1 everywhere, each step adds lam: first to last."""
    from diffzoo.tasks.reconstruct_mri import coilwise

    added = []

    class Counting:
        def __init__(self, mask, maps):
            self.maps = maps

        def A(self, x):
            return torch.zeros(1)

        def AT(self, y):
            return torch.ones(1)

    image, mask, _ = coil_case(4, slices=1)
    y, low = measured(image, mask)
    op = coilwise.SenseFourier(low, low_frequency_phase(y.reshape(-1, 2, *SIZE), low))
    monkeypatch.setattr(coilwise, "SenseFourier", Counting)
    monkeypatch.setattr(coilwise, "combine", lambda images, maps: torch.zeros(1, 2, *SIZE))
    monkeypatch.setattr(coilwise, "complex_of", lambda x: (added.append(float(x.flatten()[0])), complex_of(x))[1])
    steps = 8
    project = coilwise.hybrid(solver(steps=steps), torch.zeros_like(y), low, op, every=1, first=1.0, last=0.2).constraint(op, y)
    x = torch.zeros(4, 2, *SIZE)
    lams = []
    for _ in range(2 * steps):
        added.clear()
        project(x, 1.0)
        lams.append(max(added))
    assert lams == pytest.approx([1 - 0.8 * (k + 1) / (2 * steps) for k in range(2 * steps)], abs=1e-5)


def test_turned_slices_keep_the_data_and_depend_on_no_batch():
    image, mask, _ = real_case(4)
    one, four = (reconstruct(turned=True, slice_batch=b) for b in (1, 4))
    found = one(image, Smooth(), mask=mask)
    torch.testing.assert_close(found, four(image, Smooth(), mask=mask), rtol=0, atol=1e-5)
    assert one.stats["data_residual"] < 1e-5


def test_a_factor_scales_the_spread_alone():
    image, mask, _ = real_case()
    options = {"posterior": solver(ancestral, steps=4, start="noise"), "samples": 3}
    plain, wide = (reconstruct(**options, std_factor=f)(image, Smooth(), mask=mask) for f in (1.0, 1.7))
    torch.testing.assert_close(wide[:, 1], 1.7 * plain[:, 1])
    assert torch.equal(wide[:, 0], plain[:, 0])


def test_empty_slices_cost_nothing_and_stay_empty():
    image, mask, _ = real_case(4)
    some = image.clone()
    some[..., [0, 2]] = 0
    seen = []
    inferer = reconstruct(slice_batch=1, progress=lambda *step: seen.append(step[1]))
    found, whole = inferer(some, Smooth(), mask=mask), reconstruct(slice_batch=1)(image, Smooth(), mask=mask)
    assert not found[..., [0, 2]].any() and torch.equal(found[..., [1, 3]], whole[..., [1, 3]])
    assert set(seen) == {2 * 6} and inferer.stats["network_calls"] == 3
    assert not reconstruct()(0 * image, Smooth(), mask=mask).any()


def test_memory_grows_with_the_scan_and_the_batch():
    inferer, wide = reconstruct(slice_batch=1), reconstruct(slice_batch=8)
    assert 0 < inferer.memory((32, 32, 4)) < inferer.memory((64, 64, 4)) < wide.memory((64, 64, 4))
    several = [reconstruct(slice_batch=1, samples=n, posterior=solver()).memory((64, 64, 4)) for n in (2, 8, 32, 99)]
    assert several[0] < several[1] < several[2] == several[3]  # so many draws go together at the most


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "average, samples and slice_batch must be at least 1"),
        ({"slice_batch": 0}, "average, samples and slice_batch must be at least 1"),
        ({"samples": 2}, "needs a posterior solver"),
        ({"coils": "grappa"}, "'sense', 'ssos' or 'hybrid'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        reconstruct(**options)

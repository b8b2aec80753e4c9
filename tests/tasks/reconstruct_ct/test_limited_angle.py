"""Limited-angle reconstruction and its outputs: data kept, the wedge found, classical methods, HU out."""

import math
from functools import partial, reduce

import pytest
import torch
from anatomy import anatomy
from slices_toy import Smooth

from diffzoo.diffusion.posterior import proximal
from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.schedule import log_snr
from diffzoo.diffusion.stochastic import ancestral
from diffzoo.imaging.acquisition import Restore, SelectSlices
from diffzoo.operators.beams import ParallelBeam, arc
from diffzoo.operators.radon import Radon
from diffzoo.tasks.reconstruct_ct.outputs import AddTomographyBaselines, NameTomograms
from diffzoo.tasks.reconstruct_ct.projections import FirstImage, LoadTomogram, Project
from diffzoo.tasks.reconstruct_ct.tomography import Tomography, missing_wedge, wedge_share
from diffzoo.tasks.reconstruction import inferer
from diffzoo.tasks.reconstruction.inferer import Reconstruct
from diffzoo.tasks.reconstruction.solver import Solver

SHAPE = (40, 36, 3)
VOLUME = 1.4 * anatomy(SHAPE) - 1000


def case(slices="all", degrees=90.0, dose=None):
    steps = [LoadTomogram(), SelectSlices(slices), Project(degrees, dose=dose), FirstImage()]
    return reduce(lambda found, step: step(found), steps, {"image": VOLUME, "case": "a"})


class Echo(Smooth):
    """A network that asks for the first image, and makes noise smooth."""

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        assert concat is not None and concat.shape == x.shape
        return super().forward(x, c_noise)


def solver(lam=0.05, eta=0.0, steps=6):
    step = partial(proximal, lam=lam) if lam else None
    return Solver(partial(ancestral, eta=eta), log_snr(steps, 0.01, 1.0), constraint=step)


def reconstruct(data, **options):
    inferer = Reconstruct(Tomography(), edm(0.25), **{"solver": solver(), "slice_batch": 2} | options)
    keys = {key: data[key][None] for key in ("sinogram", "angles", "beam")}
    return inferer, inferer(data["image"][None], Echo(), data["slice_index"][None], **keys)


def test_the_proximal_step_brings_the_solution_to_the_data():
    data = case()
    with_step, found = reconstruct(data)
    without, _ = reconstruct(data, solver=solver(lam=0))
    assert found.shape == (1, 1, *SHAPE) and found.min() >= 0 and found.max() <= 3
    assert with_step.stats["data_residual"] < 0.02 < 3 * with_step.stats["data_residual"] < without.stats["data_residual"]
    assert with_step.stats["network_calls"] == 6


def test_a_slice_depends_neither_on_its_batch_nor_on_the_selection():
    whole = reconstruct(case(dose=1e6), solver=solver(eta=1.0), slice_batch=3)[1]
    one_by_one = reconstruct(case(dose=1e6), solver=solver(eta=1.0), slice_batch=1)[1]
    last = reconstruct(case("2", dose=1e6), solver=solver(eta=1.0))[1]
    torch.testing.assert_close(whole, one_by_one, rtol=0, atol=1e-3)
    torch.testing.assert_close(whole[..., 2:], last, rtol=0, atol=1e-3)


def test_draws_add_a_spread_that_lies_in_the_missing_wedge():
    inferer, found = reconstruct(case(degrees=120.0), posterior=solver(eta=1.0), samples=4)
    assert found.shape == (1, 2, *SHAPE) and (found[:, 1] >= 0).all() and found[:, 1].max() > 0
    missing_by_area = 1 - 120 / 180
    assert 1.3 * missing_by_area < inferer.stats["figures"]["missing_wedge"] <= 1  # noise everywhere would give its area


@pytest.mark.parametrize("slice_batch", [1, 2, 3])
def test_draws_that_go_together_are_those_that_go_one_by_one(monkeypatch, slice_batch):
    """With the same noise, and the network seeing what it saw: only the rounding of sparse products may differ."""
    data, images, seen, steps = case(dose=1e6), [], [], []
    forward, denoise = Radon.A, Echo.forward
    monkeypatch.setattr(Radon, "A", lambda op, x: images.append(len(x)) or forward(op, x))
    monkeypatch.setattr(Echo, "forward", lambda net, x, *a, **cond: seen.append(len(x)) or denoise(net, x, *a, **cond))
    options = {"solver": solver(eta=1.0, steps=2), "posterior": solver(eta=1.0, steps=3), "average": 2, "samples": 5}
    options |= {"slice_batch": slice_batch, "progress": lambda *told: steps.append(told[:2])}

    def run(most, **more):
        images.clear(), seen.clear()
        monkeypatch.setattr(inferer, "TOGETHER", most)
        tool, found = reconstruct(data, **options, **more)
        total = (2 * 2 + 5 * 3) * -(-SHAPE[2] // slice_batch)
        assert steps[-1] == (total, total) and tool.stats["network_calls"] == 4
        assert max(images) == max(most, slice_batch) and max(seen) == slice_batch
        return found

    apart, together = run(1), run(3 * slice_batch)  # three of the five draws, then two
    torch.testing.assert_close(together, apart, rtol=0, atol=3e-3)
    assert (run(3 * slice_batch, seed=1) - together).abs().amax((2, 3)).min() > 0.03


@pytest.mark.parametrize("degrees", [60, 90, 120])
def test_the_missing_wedge_is_the_share_of_angles_without_views(degrees):
    beam = ParallelBeam(arc(degrees, degrees), 91)
    wedge = missing_wedge(beam, (64, 64), (1.0, 1.0))
    assert float(wedge.mean()) == pytest.approx(1 - degrees / 180, abs=0.03) and wedge[0, 0] == 0
    for angle in (5, degrees - 5, degrees + 10, 170):
        fx, fy = (round(20 * f(math.radians(angle))) for f in (math.cos, math.sin))
        assert wedge[fx % 64, fy % 64] == (angle > degrees)


def test_a_wave_along_a_measured_direction_counts_as_measured_and_one_beyond_as_missing():
    wedge = missing_wedge(ParallelBeam(arc(90, 90), 91), (64, 64), (1.0, 1.0))
    x, y = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for direction, share in (((5, 5), 0.0), ((5, -5), 1.0)):
        wave = torch.cos(2 * math.pi * (direction[0] * x + direction[1] * y) / 64)
        draws = torch.stack([wave, -wave])[:, None, None]
        assert float(wedge_share(draws, wedge)) == pytest.approx(share, abs=1e-5)


def test_outputs_are_in_hu_on_the_stored_grid():
    data = case()
    pred = torch.cat([torch.ones(1, *SHAPE), 0.1 * torch.ones(1, *SHAPE)])
    found = Restore(["recon", "std", "fbp", "sinogram_view"])(NameTomograms()(data | {"pred": pred}))
    assert (found["recon"] == 0).all() and torch.allclose(found["std"].as_tensor(), torch.tensor(100.0))
    assert found["fbp"].shape == (1, *SHAPE) and found["fbp"].min() >= -1000 and found["fbp"].max() <= 2000
    view = found["sinogram_view"].as_tensor()[0]
    assert view.shape == SHAPE
    top, bottom = view[:, SHAPE[1] // 2 + 1 :], view[:, : SHAPE[1] // 2 - 1]  # axis 1 grows upwards on the page
    assert bottom.max() == 0 and top.mean() > 0


def test_baselines_get_nearer_to_the_truth_than_filtered_backprojection():
    data = case(degrees=120.0)
    found = AddTomographyBaselines(tv_weight=0.003)(NameTomograms()(data | {"pred": torch.ones(1, *SHAPE)}))
    error = {k: float((found[k] - data["reference"]).pow(2).mean().sqrt()) for k in ("fbp", "rls", "total_variation")}
    assert error["total_variation"] < error["rls"] < error["fbp"]


def test_memory_grows_with_the_slice_and_has_an_end():
    problem = Tomography()
    assert 0 < problem.memory((64, 64, 9)) < problem.memory((256, 256, 9)) <= problem.memory((5000, 5000)) <= 2**31

"""Restoration: scans made worse and brought onto finer grids, the problem they pose, what is left of them."""

import json
import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.samplers import named
from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import LoadScan, Restore, SelectSlices
from diffzoo.operators.fourier import RealMaskedFourier, fft, uncentre
from diffzoo.tasks.reconstruction.inferer import Reconstruct
from diffzoo.tasks.reconstruction.solver import Solver
from diffzoo.tasks.restore.outputs import AddClassical, NameRestored
from diffzoo.tasks.restore.problem import Restoration, ending_at, low_frequencies, symmetric
from diffzoo.tasks.restore.scans import Degrade, MeasureNoise, Refine, ScaleNoisy, resized

SHAPE = (40, 36, 3)
OBLIQUE = np.array([[0.9, -0.3, 0, 5], [0.3, 0.9, 0, -7], [0, 0, 4, 11], [0, 0, 0, 1.0]])


class Shrink(nn.Module):
    """The exact denoiser of a Gaussian prior of variance 1 about 0, as an estimate of the clean image."""

    def forward(self, x, c_noise, **conditions):
        return x / (1 + torch.exp(2 * c_noise).view(-1, 1, 1, 1))


def loaded(volume, affine=OBLIQUE) -> dict:
    source = MetaTensor(torch.from_numpy(volume(SHAPE)), affine=torch.from_numpy(affine))
    return LoadScan()({"image": source, "case": "scan"})


def through(data: dict, *transforms) -> dict:
    for transform in transforms:
        data = transform(data)
    return data


def band_limited(volume) -> torch.Tensor:
    """Slices [3, 1, 40, 36] without anything beyond a quarter of the sampling frequency."""
    slices = torch.from_numpy(volume(SHAPE)).movedim(-1, 0)[:, None].double()
    return resized(resized(slices, (19, 17)), SHAPE[:2])


def test_a_finer_grid_and_back_is_the_same_image_and_its_pixels_stay(volume):
    slices = torch.from_numpy(volume(SHAPE)).movedim(-1, 0)[:, None].double()
    smooth = band_limited(volume)
    fine = resized(smooth, (80, 72))
    torch.testing.assert_close(fine[..., ::2, ::2], smooth)
    torch.testing.assert_close(resized(fine, SHAPE[:2]), smooth)
    torch.testing.assert_close(resized(slices, (80, 72)).mean(), slices.mean())


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_a_finer_grid_has_the_field_of_the_scan_and_the_place_of_its_first_pixel(volume, factor):
    data = loaded(volume)
    fine = Refine(factor)(data)
    size = [round(n * factor) for n in SHAPE[:2]]
    assert fine["image"].shape == (1, *size, 3) and fine["box"].shape == (1, *size)
    assert int(fine["box"].sum()) == SHAPE[0] * SHAPE[1]
    before, after = data["image"].affine.numpy(), fine["image"].affine.numpy()
    np.testing.assert_allclose(after[:, 3], before[:, 3])
    np.testing.assert_allclose(after[:3, 0] * size[0], before[:3, 0] * SHAPE[0])
    restored = Restore(("image",))(fine)["image"]
    assert sorted(restored.shape[1:]) == sorted([*size, 3])


def test_a_coarse_scan_comes_back_onto_the_grid_of_its_reference(volume):
    data = through(loaded(volume), Degrade(0.0, "gaussian", 2.0))
    assert data["image"].shape == (1, 20, 18, 3) and data["reference"].shape == (1, *SHAPE)
    data = through(data, MeasureNoise(0.01), Refine(2.0), ScaleNoisy(), SelectSlices("1:3"))
    assert data["image"].shape == data["reference"].shape == (1, *SHAPE[:2], 2)
    np.testing.assert_allclose(data["image"].affine, data["reference"].affine)
    facts = json.loads(data["acquisition"])
    assert facts["finer"] == pytest.approx(2.0) and "2 times as fine" in facts["words"]
    outside = fft(data["image"].as_tensor().movedim(-1, 0)).abs() * (1 - uncentre(data["box"]))
    assert float(outside.max()) < 0.02 * float(fft(data["image"].as_tensor().movedim(-1, 0)).abs().max())


def test_a_factor_of_one_leaves_the_image(volume):
    data = loaded(volume)
    assert torch.equal(Refine(1.0)(data)["image"], data["image"]) and Refine(1.0)(data)["box"].all()


@pytest.mark.parametrize("kind", ["gaussian", "rician"])
def test_noise_is_as_asked_for_and_of_its_kind(volume, kind):
    data, noisy = loaded(volume), Degrade(0.05, kind)(loaded(volume))
    from diffzoo.imaging.intensity import robust_scale

    scale, difference = robust_scale(data["image"].as_tensor()), (noisy["image"] - data["image"]).as_tensor()
    bright = data["image"].as_tensor() > 0.5 * scale
    assert float(difference[bright].std()) == pytest.approx(0.05 * scale, rel=0.15)
    assert (float(noisy["image"].min()) >= 0) == (kind == "rician")
    assert torch.equal(noisy["image"], Degrade(0.05, kind)(loaded(volume))["image"])
    assert not torch.equal(noisy["image"], Degrade(0.05, kind, seed=1)(loaded(volume))["image"])


def test_impossible_trials_are_refused():
    for make in (lambda: Degrade(-0.1), lambda: Degrade(0.1, "poisson"), lambda: Degrade(0.1, factor=0.5)):
        with pytest.raises(InputError, match="noise >= 0 that is rician or gaussian, and factor >= 1"):
            make()
    with pytest.raises(InputError, match="factor must be at least 1"):
        Refine(0.5)
    with pytest.raises(ValueError, match="rician or gaussian, not 'poisson'"):
        Restoration(kind="poisson")
    with pytest.raises(ValueError, match="strength must be positive"):
        Restoration(strength=0)


def test_more_noise_than_the_prior_has_seen_is_told(volume):
    quiet, loud = (through(loaded(volume), MeasureNoise(sd), Refine(), ScaleNoisy(most=0.3)) for sd in (0.2, 0.4))
    assert quiet["notes"] == "" and "40% of the brightest tissue is more than the prior has seen" in loud["notes"]


def test_k_space_is_refused(tmp_path, volume):
    from diffzoo.imaging.io.kspace import write_simulated

    write_simulated(str(tmp_path / "scan.h5"), volume(SHAPE).transpose(2, 0, 1), coils=2, noise_sd=0.0)
    with pytest.raises(InputError, match=r"scan\.h5: k-space is no magnitude image: reconstruct it first"):
        MeasureNoise()(LoadScan()({"image": str(tmp_path / "scan.h5"), "case": "scan"}))


def restored(image: torch.Tensor, sd: float, solver: Solver, problem: Restoration, **options) -> torch.Tensor:
    data = {"noise_sd": torch.tensor([sd]), "box": torch.ones(1, 1, *image.shape[2:])}
    inferer = Reconstruct(problem, x0(), solver, **options)
    return inferer(image.movedim(0, -1)[None], Shrink(), **data)[0].movedim(-1, 0)


def test_one_level_is_the_posterior_mean_at_the_noise_of_the_scan():
    image, one = (
        torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)),
        Solver(named("euler"), [1.0, 0.0], start="data"),
    )
    for strength in (0.5, 1.0, 2.0):
        found = restored(image, 0.5, one, Restoration(strength, kind="gaussian"))
        torch.testing.assert_close(found, image / (1 + (0.5 * strength) ** 2))
    even = replace(one, rule=symmetric())
    torch.testing.assert_close(restored(image, 0.5, even, Restoration(kind="gaussian")), image / 1.25)
    assert symmetric(averaged=False) is None


def test_draws_that_begin_with_the_scan_are_of_its_posterior():
    sd, image = 0.5, torch.ones(1, 1, 64, 64)
    sampler, sigmas = named("ancestral"), [0.97**k for k in range(200)] + [0.0]
    solver = Solver(sampler, sigmas, start="data")
    found = restored(image, sd, solver, Restoration(kind="gaussian"), posterior=solver, samples=8)
    assert float(found[:, 0].mean()) == pytest.approx(1 / (1 + sd**2), abs=0.02)
    assert float(found[:, 1].square().mean().sqrt()) == pytest.approx(math.sqrt(sd**2 / (1 + sd**2)), rel=0.05)


def test_rician_noise_has_its_mean_taken_off():
    from diffzoo.imaging.noise_level import rician_mean

    class Same(nn.Module):
        def forward(self, x, c_noise, **conditions):
            return x

    mean = rician_mean(torch.full((1, 1, 16, 16), 0.3), 0.1)
    data = {"noise_sd": torch.tensor([0.1]), "box": torch.ones(1, 1, 16, 16)}
    inferer = Reconstruct(Restoration(), x0(), Solver(named("euler"), [1.0, 0.0], start="data"))
    found = inferer(mean.movedim(0, -1)[None], Same(), **data)
    torch.testing.assert_close(found, torch.full_like(found, 0.3), rtol=1e-3, atol=1e-3)


def test_a_rule_is_told_the_noise_of_the_known_part_of_k_space():
    seen = {}

    def rule(denoise, op, y, noise_sd):
        seen["noise"] = noise_sd
        return denoise

    from functools import partial

    box = torch.zeros(1, 1, 16, 16)
    box[..., 4:12, 4:12] = 1
    solver = Solver(named("euler"), [0.5, 0.0], rule=partial(rule, noise_sd=1.0), start="data")
    posed = Restoration(kind="gaussian", grid=ending_at)(
        Denoiser(Shrink(), x0()), torch.rand(2, 1, 16, 16), [0, 1], {"noise_sd": torch.tensor([0.1]), "box": box}
    )
    posed.solve(solver, [0, 1], None)
    assert seen["noise"] == pytest.approx(0.2)  # a coefficient of a grid twice as fine along each axis


def test_a_grid_ends_at_the_noise_and_not_below():
    grid = [0.4, 0.2, 0.1, 0.05, 0.0]
    assert ending_at(grid, 0.01) == grid and ending_at(grid, 0.5) == grid
    short = ending_at(grid, 0.1)
    assert short[0] == pytest.approx(0.4) and short[-2] == pytest.approx(0.1) and short[-1] == 0.0
    assert short[1] / short[0] == pytest.approx(short[2] / short[1])


def test_the_pull_brings_low_frequencies_back_and_leaves_high_ones():
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    op = RealMaskedFourier(torch.ones(1, 1, 16, 16))
    project = low_frequencies(op, op.A(image), weight=1.0, share=0.5)
    spectrum, wanted = fft(project(torch.zeros_like(image), 0.1)).abs(), fft(image).abs()
    torch.testing.assert_close(spectrum[..., 0:3, 0:3], wanted[..., 0:3, 0:3])
    assert float(spectrum[..., 8, 8]) < 1e-5
    assert torch.equal(low_frequencies(op, op.A(image), weight=0.0)(image, 0.1), image)
    with pytest.raises(ValueError, match="weight and share"):
        low_frequencies(op, op.A(image), weight=2.0)


def test_volumes_are_named_in_the_unit_of_the_scan_and_classical_methods_take_noise_out(tmp_path, volume):
    nib.save(nib.Nifti1Image(100 * volume((64, 64, 2)), np.diag([1.0, 1, 4, 1])), tmp_path / "scan.nii")
    data = LoadScan()({"image": str(tmp_path / "scan.nii"), "case": "scan"})
    data = through(data, Degrade(0.1, "gaussian"), MeasureNoise(0.1), Refine(), ScaleNoisy(), SelectSlices())
    data["pred"] = torch.cat([data["image"].as_tensor()] * 2)
    out = AddClassical(0.8, 0.7, "gaussian")(NameRestored()(data))
    truth = data["reference"].as_tensor()
    errors = {
        k: float((out[k].as_tensor() - truth).square().mean()) for k in ("restored", "input", "nonlocal", "total_variation")
    }
    assert errors["restored"] == errors["input"] and max(errors["nonlocal"], errors["total_variation"]) < 0.7 * errors["input"]
    assert out["std"].shape == truth.shape and np.allclose(out["input"].affine, data["image"].affine)
    assert {"nonlocal", "total_variation"}.isdisjoint(AddClassical(None, None)(NameRestored()(data)))

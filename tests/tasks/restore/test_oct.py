"""OCT in the task restore: training crops, trials with speckle, references, the levels of the published chain."""

import nibabel as nib
import numpy as np
import pytest
import torch

from diffzoo.diffusion.samplers import posterior_mean
from diffzoo.diffusion.schedule import from_alphas, linear_alphas
from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import LoadScan
from diffzoo.imaging.noise_level import flat_noise_level
from diffzoo.imaging.phantoms.retina import RANGE_DB, display, retina
from diffzoo.imaging.speckle import log_sd, log_speckle
from diffzoo.tasks.restore.fused_crops import FusedCrops
from diffzoo.tasks.restore.outputs import AddClassical
from diffzoo.tasks.restore.problem import entered_at, in_units
from diffzoo.tasks.restore.scans import MeasureNoise, Refine, ScaleNoisy
from diffzoo.tasks.restore.speckled import AddSpeckle, LoadReference

SHAPE, AFFINE = (96, 112, 5), np.diag([0.012, -0.004, 0.03, 1.0])
GREY = 255 / RANGE_DB


@pytest.fixture(scope="module")
def eye():
    return display(retina(SHAPE, 7).levels)


@pytest.fixture(scope="module")
def scan(tmp_path_factory, eye):
    """Paths of a speckled volume and of the same without."""
    folder = tmp_path_factory.mktemp("oct")
    noise = log_speckle((SHAPE[2], *SHAPE[:2]), 2, 0.6, torch.Generator().manual_seed(0)).movedim(0, -1).numpy()
    for name, volume in (("scan", eye + GREY * noise), ("average", eye)):
        nib.save(nib.Nifti1Image(volume.clip(0).astype(np.float32), AFFINE), folder / f"{name}.nii.gz")
    return folder / "scan.nii.gz", folder / "average.nii.gz"


@pytest.mark.parametrize("looks", [1, 2, 4])
def test_noise_is_told_from_the_vitreous(eye, looks):
    speckle = log_speckle((SHAPE[2], *SHAPE[:2]), looks, 0.6, torch.Generator().manual_seed(looks))
    slices = (torch.from_numpy(eye).movedim(-1, 0).float() + GREY * speckle).clamp(min=0)
    assert flat_noise_level(slices) == pytest.approx(GREY * log_sd(looks), rel=0.1)


def test_an_image_that_its_display_cuts_off_tells_no_noise():
    slices = 255 * (torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    with pytest.raises(InputError, match="give its noise with --set noise_level"):
        flat_noise_level(slices)


def test_a_trial_adds_speckle_to_the_reference_and_keeps_it(scan):
    data = LoadReference()(LoadScan()({"image": str(scan[0]), "reference": str(scan[1]), "case": "scan"}))
    trial = AddSpeckle(1)(data)
    assert torch.equal(trial["reference"], data["reference"])
    difference = (trial["image"] - trial["reference"]).as_tensor()
    bright = trial["reference"].as_tensor() > 120  # nothing is cut off at 0 there
    assert float(difference[bright].std()) == pytest.approx(4.4 * log_sd(1), rel=0.05)
    assert float(difference[bright].mean()) == pytest.approx(0, abs=1)
    given = AddSpeckle(0)(data)
    assert torch.equal(given["image"], data["image"]) and torch.equal(given["reference"], data["reference"])
    alone = AddSpeckle(1)(LoadScan()({"image": str(scan[1]), "case": "scan"}))
    assert torch.equal(alone["reference"], data["reference"])


def test_a_trial_without_anything_to_compare_with_is_refused(scan):
    data = LoadReference()(LoadScan()({"image": str(scan[0]), "case": "scan"}))
    with pytest.raises(InputError, match="nothing to compare with: give a reference in the datalist, or looks > 0"):
        AddSpeckle(0)(data)
    with pytest.raises(InputError, match="looks >= 0"):
        AddSpeckle(-1)


def test_a_reference_on_another_grid_is_refused(tmp_path, scan, eye):
    nib.save(nib.Nifti1Image(eye[:-4].astype(np.float32), AFFINE), tmp_path / "other.nii.gz")
    data = LoadScan()({"image": str(scan[0]), "reference": str(tmp_path / "other.nii.gz"), "case": "scan"})
    with pytest.raises(InputError, match="not on the grid"):
        LoadReference()(data)


def test_crops_are_fused_and_the_same_on_every_run(scan):
    options = {"crop": 48, "batch_size": 4, "batches": 3, "seed": 2}
    batches, again = FusedCrops([str(scan[0])], **options), FusedCrops([str(scan[0])], **options)
    assert batches[1]["image"].shape == (4, 1, 48, 48)
    assert torch.equal(batches[1]["image"], again[1]["image"]) and not torch.equal(batches[0]["image"], batches[1]["image"])
    raw = FusedCrops([str(scan[0])], radius=0, **options)
    clean = FusedCrops([str(scan[1])], radius=0, **options)
    away = [float((x.stacks[0] / x.stacks[0].mean() - clean.stacks[0] / clean.stacks[0].mean()).std()) for x in (raw, batches)]
    assert away[1] < 0.6 * away[0]
    with pytest.raises(ValueError, match="no training volumes"):
        FusedCrops([])


def test_a_crop_larger_than_the_frame_is_filled_with_nothing(scan):
    assert FusedCrops([str(scan[0])], crop=128, batch_size=1, batches=1)[0]["image"].shape == (1, 1, 128, 128)


def test_the_published_levels_are_entered_at_the_noise():
    table = in_units(from_alphas(linear_alphas(100, 1e-4, 0.006)), 0.5)
    assert len(table) == 101 and table[0] == pytest.approx(0.5 * (1 / 0.858**2 - 1) ** 0.5, rel=2e-3)
    assert 2 * table[100 - 42] == pytest.approx(0.239, abs=6e-3)  # t = 41
    entered = entered_at(table, 0.1)
    assert entered[-1] == 0 and entered == table[-len(entered) :]
    assert all(abs(np.log(entered[0] / 0.1)) <= abs(np.log(level / 0.1)) for level in table[:-1])
    assert entered_at(table, 5.0) == table


def test_the_chain_of_means_is_that_of_ddpm():
    """The step on x / sqrt(abar) against the posterior mean of x_{t-1} in Ho et al. 2020, eq. 7."""
    bar = linear_alphas(100, 1e-4, 0.006)
    here, before, alpha = float(bar[60]), float(bar[59]), float(bar[60] / bar[59])
    x, estimate = torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.randn(1, 1, 4, 4, dtype=torch.float64)
    mean = (before**0.5 * (1 - alpha) * estimate + alpha**0.5 * (1 - before) * x) / (1 - here)
    levels = [((1 - b) / b) ** 0.5 for b in (here, before)]
    step = posterior_mean(lambda y, sigma: estimate, x / here**0.5, levels)
    torch.testing.assert_close(step * before**0.5, mean)


def test_one_call_with_the_true_noise_gives_the_clean_frame():
    clean, noise = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    found = posterior_mean(lambda x, sigma: x - sigma * noise, clean + 0.2 * noise, [0.2, 0.0])
    torch.testing.assert_close(found, clean, atol=1e-6, rtol=0)


def test_classical_filters_take_noise_out_of_a_trial(scan):
    data = LoadReference()(LoadScan()({"image": str(scan[0]), "reference": str(scan[1]), "case": "scan"}))
    data = ScaleNoisy()(Refine()(MeasureNoise(estimate=flat_noise_level)(data)))
    found = AddClassical(0.8, None, "gaussian", median=3)(data | {"box": torch.ones(1, *data["image"].shape[1:3])})
    truth = data["reference"].as_tensor()
    before = float((data["image"].as_tensor() * data["scale"] - truth).std())
    assert all(float((found[name].as_tensor() - truth).std()) < 0.7 * before for name in ("median", "nonlocal"))
    assert "total_variation" not in found

"""A magnitude scan as several coils see it: what they see adds up to the scan, and a mask can lie along either axis."""

import nibabel as nib
import numpy as np
import pytest
import torch

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import LoadScan, Normalise, SelectSlices, SimulateCoils, Undersample
from diffzoo.operators.coils import root_sum_of_squares

SHAPE = (36, 32, 3)


def seen(volume, *more, coils: int = 4, **options) -> dict:
    data = {"image": volume(SHAPE), "case": "scan"}
    for transform in (LoadScan(), SimulateCoils(coils, **options), *more):
        data = transform(data)
    return data


def mask_of(volume, lines: str) -> torch.Tensor:
    data = seen(volume, Undersample("equispaced", 3.0, 0.2, lines=lines))
    return data["mask"][0]


def test_coil_images_without_noise_add_up_to_the_scan(volume):
    data = seen(volume)
    image, truth = data["image"], torch.from_numpy(volume(SHAPE))[None]
    assert image.shape == (8, *SHAPE) and torch.equal(data["reference"].as_tensor(), truth)
    total = root_sum_of_squares(image.as_tensor().movedim(-1, 0)).movedim(0, -1)
    torch.testing.assert_close(total, truth, rtol=1e-4, atol=1e-4 * float(truth.max()))
    assert np.allclose(image.affine, data["reference"].affine) and "stored_affine" in image.meta


def test_noise_has_the_spread_that_was_asked_for_in_units_of_the_brightest_tissue(volume):
    from diffzoo.imaging.intensity import robust_scale

    clean, noisy = (seen(volume, noise_sd=sd)["image"].as_tensor() for sd in (0.0, 0.05))
    scale = float(robust_scale(torch.from_numpy(volume(SHAPE)).movedim(-1, 0)))
    assert float((noisy - clean).std()) == pytest.approx(0.05 * scale, rel=0.05)


def test_the_same_scan_and_seed_give_the_same_and_another_seed_another(volume):
    first, again, other = (seen(volume, noise_sd=0.01, seed=seed)["image"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_reference_of_an_undersampled_scan_has_no_noise(volume):
    data = seen(volume, Undersample("equispaced", 3.0, 0.2), Normalise(), SelectSlices("1:3"), noise_sd=0.05)
    assert torch.equal(data["reference"].as_tensor(), torch.from_numpy(volume(SHAPE))[None, ..., 1:3])
    assert data["image"].shape == (8, *SHAPE[:2], 2)


def test_measured_coil_images_stay(tmp_path, volume):
    from diffzoo.imaging.io.kspace import write_simulated

    write_simulated(str(tmp_path / "scan.h5"), volume(SHAPE).transpose(2, 0, 1), coils=3, noise_sd=0.0)
    loaded = LoadScan()({"image": str(tmp_path / "scan.h5"), "case": "scan"})
    assert torch.equal(SimulateCoils(4)(loaded)["image"], loaded["image"])


def test_measured_coil_images_keep_no_more_lines_than_asked_for_whatever_their_truth_is(tmp_path, volume):
    from diffzoo.imaging.io.kspace import write_simulated

    write_simulated(str(tmp_path / "scan.h5"), volume(SHAPE).transpose(2, 0, 1), coils=3, noise_sd=0.0)
    data = LoadScan()({"image": str(tmp_path / "scan.h5"), "case": "scan"})
    with pytest.raises(InputError, match="raise center_fraction"):
        Undersample("equispaced", 3.0, 0.03)(SimulateCoils(4)(data) | {"reference": data["image"][:1]})


def test_lines_are_columns_or_rows(volume):
    columns, rows = mask_of(volume, "columns"), mask_of(volume, "rows")
    assert torch.equal(columns, columns[:1].expand_as(columns)) and torch.equal(rows, rows[:, :1].expand_as(rows))
    assert rows.shape == columns.shape == SHAPE[:2]
    assert float(rows[:, 0].mean()) == pytest.approx(1 / 3, abs=0.03)


def test_small_scans_keep_the_lines_that_coil_maps_need_and_say_so(volume):
    data = seen(volume, Undersample("equispaced", 3.0, 0.03))
    assert data["mask"][0, 0, 14:18].all() and "the 4 central lines are kept" in data["notes"]
    assert "central lines" not in seen(volume, Undersample("equispaced", 3.0, 0.2))["notes"]


@pytest.mark.parametrize(
    "make", [lambda: SimulateCoils(0), lambda: SimulateCoils(4, noise_sd=-1), lambda: SimulateCoils(4, -0.1)]
)
def test_impossible_coils_are_refused(make):
    with pytest.raises(InputError, match="coils >= 1"):
        make()


def test_other_lines_are_refused():
    with pytest.raises(InputError, match="columns or rows, not 'vertical'"):
        Undersample("equispaced", 4.0, 0.1, lines="vertical")


def test_a_file_works_as_an_array_does(tmp_path, volume):
    nib.save(nib.Nifti1Image(volume(SHAPE), np.diag([1.0, 1, 5, 1])), tmp_path / "scan.nii")
    data = SimulateCoils(2)(LoadScan()({"image": str(tmp_path / "scan.nii"), "case": "scan"}))
    assert data["image"].shape[0] == 4

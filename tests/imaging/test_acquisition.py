"""The way of a scan into a reconstruction and back: loading, undersampling, scaling, choosing slices, restoring."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import LoadScan, Normalise, Restore, SelectSlices, Undersample, known_share
from diffzoo.imaging.intensity import robust_scale
from diffzoo.imaging.io.kspace import write_kspace
from diffzoo.imaging.simulate import simulate_kspace
from diffzoo.operators.coils import root_sum_of_squares
from diffzoo.operators.fourier import RealMaskedFourier, complex_of, fft, ifft_centred, pairs_of, uncentre

SHAPE = (36, 32, 3)
SAGITTAL = np.array([[0.0, 0, 5, -7], [1.2, 0, 0, 3], [0, -0.9, 0, 40], [0, 0, 0, 1]])


def undersample(**options):
    return Undersample(**{"mask": "gaussian1d", "acceleration": 2.5, "center_fraction": 0.25} | options)


def through(source, *transforms) -> dict:
    data = {"image": source, "case": "scan"}
    for transform in transforms:
        data = transform(data)
    return data


@pytest.fixture
def kspace_file(tmp_path, volume):
    """write(coils, mask, spacing) -> path of simulated measured k-space, with slices of `SHAPE`."""

    def write(coils, mask=None, spacing=(5.0, 1.0, 1.1)):
        full = simulate_kspace(volume(SHAPE).transpose(2, 0, 1), coils, 0.0, torch.Generator().manual_seed(0))
        kept = full if mask is None else full * mask
        write_kspace(tmp_path / "scan.h5", kept.numpy(), mask, spacing)
        return tmp_path / "scan.h5", full

    return write


def column_mask(lines) -> torch.Tensor:
    mask = torch.zeros(SHAPE[:2])
    mask[:, 12:20] = 1
    mask[:, list(lines)] = 1
    return mask


# loading


def test_a_file_is_read_with_slices_last(nifti, volume):
    path = nifti(volume(SHAPE), SAGITTAL)
    data = through(path, LoadScan())
    assert data["image"].shape == (1, 36, 32, 3) and data["image_path"] == str(path)
    assert data["notes"] == "" and data["case"] == "scan" and "mask" not in data
    assert np.allclose(data["image"].meta["stored_affine"], SAGITTAL)
    stored = np.linalg.inv(SAGITTAL)
    for index in ((0, 0, 0), (5, 7, 1), (35, 31, 2)):  # each voxel stays where it was in the world
        i, j, k = np.rint((stored @ data["image"].affine.numpy() @ [*index, 1])[:3]).astype(int)
        assert float(data["image"][(0, *index)]) == volume(SHAPE)[i, j, k]


def test_an_array_is_taken_as_a_volume_or_a_slice(volume):
    array = volume(SHAPE)
    data = through(array, LoadScan())
    assert torch.equal(data["image"].as_tensor()[0], torch.from_numpy(array))
    assert data["image_path"] == "array" and np.array_equal(data["image"].affine, np.eye(4))
    flat = through(array[..., 0], LoadScan())
    assert flat["image"].shape == (1, 36, 32, 1)


def test_a_meta_tensor_keeps_its_affine(volume):
    source = MetaTensor(torch.from_numpy(volume(SHAPE)), affine=torch.from_numpy(np.diag([2.0, 3, 5, 1])))
    data = through(source, LoadScan())
    assert np.allclose(data["image"].affine, np.diag([2.0, 3, 5, 1]))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((4, 4, 4, 4)), r"must be a slice \[H, W\] or a volume"),
        (np.ones(20), r"must be a slice \[H, W\] or a volume"),
        (np.ones((20, 20)), "NaN or infinity, or is constant"),
        (np.full((20, 20), np.nan), "NaN or infinity, or is constant"),
        (np.where(np.eye(20) > 0, np.inf, 1.0), "NaN or infinity, or is constant"),
        (np.arange(15.0 * 40).reshape(15, 40), "too small to undersample"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        through(array, LoadScan())


def test_negative_values_become_zero_with_a_note(volume):
    data = through(volume(SHAPE) - 50, LoadScan())
    assert data["image"].min() == 0 and "negative values were set to 0" in data["notes"]


@pytest.mark.parametrize(("range_", "noted"), [((0.5, 1.5), False), ((1.0, 1.5), True), ((0.5, 1.1), True)])
def test_spacing_outside_the_range_is_noted(nifti, volume, range_, noted):
    data = through(nifti(volume(SHAPE), SAGITTAL), LoadScan(spacing_range=range_))
    assert ("outside the training range" in data["notes"]) == noted


def test_measured_kspace_becomes_coil_images(kspace_file):
    path, full = kspace_file(3)
    data = through(path, LoadScan())
    images = ifft_centred(full)
    assert data["image"].shape == (6, *SHAPE) and "mask" not in data
    torch.testing.assert_close(complex_of(data["image"].as_tensor().movedim(-1, 0)), images, rtol=0, atol=1e-3)
    assert np.allclose(data["image"].affine, np.diag([1.0, 1.1, 5, 1]))


def test_measured_kspace_brings_its_mask(kspace_file):
    mask = column_mask([1, 5, 25])
    path, _ = kspace_file(3, mask)
    data = through(path, LoadScan())
    assert torch.equal(data["mask"], mask[None])


def test_kspace_without_voxel_size_is_noted(kspace_file):
    path, _ = kspace_file(2, spacing=None)
    assert "no voxel size" in through(path, LoadScan())["notes"]


def test_coils_without_calibration_lines_are_refused(kspace_file):
    mask = torch.zeros(SHAPE[:2])
    mask[:, ::4] = 1
    path, _ = kspace_file(3, mask)
    with pytest.raises(InputError, match=r"scan\.h5: .*calibration needs 4 x 4.*maps"):
        through(path, LoadScan())


def test_a_bad_kspace_file_is_an_input_error(tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        through(tmp_path / "bad.h5", LoadScan())


# undersampling


def test_a_magnitude_volume_is_undersampled_with_its_symmetry(volume):
    data = through(volume(SHAPE), LoadScan(), undersample())
    truth, mask = torch.from_numpy(volume(SHAPE)), data["mask"]
    assert mask.shape == (1, 36, 32) and json.loads(data["acquisition"])["undersampling"] == "retrospective"
    assert float(mask.mean()) == pytest.approx(1 / 2.5, abs=0.02)
    assert torch.equal(data["reference"].as_tensor()[0], truth)
    op = RealMaskedFourier(uncentre(mask)[None])
    y = op.A(truth.movedim(-1, 0)[:, None])
    torch.testing.assert_close(op.A(data["image"].as_tensor().movedim(-1, 0)), y, rtol=0, atol=1e-2)
    torch.testing.assert_close(op.pinv(y), data["image"].as_tensor().movedim(-1, 0), rtol=0, atol=1e-2)


def test_full_kspace_is_undersampled_coil_by_coil(kspace_file):
    path, _ = kspace_file(3)
    full = through(path, LoadScan())["image"].as_tensor().movedim(-1, 0)
    data = through(path, LoadScan(), undersample())
    low = uncentre(data["mask"])
    spectrum = fft(complex_of(data["image"].as_tensor().movedim(-1, 0)))
    torch.testing.assert_close(spectrum, fft(complex_of(full)) * low, rtol=0, atol=1e-2)
    torch.testing.assert_close(data["reference"].as_tensor().movedim(-1, 0), root_sum_of_squares(full))
    assert data["reference"].shape == (1, *SHAPE) and json.loads(data["acquisition"])["undersampling"] == "retrospective"


def test_the_mask_of_the_file_is_respected(kspace_file):
    mask = column_mask([0, 3, 30])
    path, _ = kspace_file(3, mask)
    loaded = through(path, LoadScan())
    data = undersample(acceleration=8)(loaded)
    assert torch.equal(data["mask"], mask[None])
    assert torch.equal(data["image"].as_tensor(), loaded["image"].as_tensor())
    assert "reference" not in data and json.loads(data["acquisition"])["undersampling"] == "measured"
    assert "come from the file" in data["notes"] and "acquisition" not in loaded
    spectrum = pairs_of(fft(complex_of(data["image"].as_tensor().movedim(-1, 0))))
    assert (spectrum * (1 - uncentre(mask))).abs().max() < 1e-3 * spectrum.abs().max()


def test_each_volume_and_seed_has_a_mask_of_its_own(volume):
    masks = [
        through(volume(shape, case), LoadScan(), undersample(seed=seed))["mask"]
        for shape, case, seed in ((SHAPE, 0, 0), (SHAPE, 0, 0), (SHAPE, 1, 0), (SHAPE, 0, 1))
    ]
    assert torch.equal(masks[0], masks[1]) and not any(torch.equal(masks[0], other) for other in masks[2:])


def test_the_mask_is_the_same_in_other_units_and_for_axes_stored_the_other_way(volume):
    array = volume(SHAPE)
    stored = (array, np.ascontiguousarray(array[:, :, ::-1]), 40 * array)
    masks = [through(one, LoadScan(), undersample())["mask"] for one in stored]
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


def test_a_real_image_leaves_more_of_k_space_known_than_is_kept():
    half = torch.zeros(8, 8)
    half[:, 4:] = 1  # centred: frequency 0 and above, and the mirror of the rest
    assert known_share(half, real=False) == 0.5 and known_share(half, real=True) == pytest.approx(1 - 1 / 8)
    assert known_share(torch.ones(5, 7), real=True) == 1


def test_the_peak_is_that_of_the_whole_volume(volume):
    array = volume(SHAPE)
    array[..., 1] *= 2
    whole, some = (through(array, LoadScan(), undersample(), SelectSlices(s)) for s in ("all", "0:1"))
    assert some["peak"] == whole["peak"] == float(whole["reference"].max()) > float(some["reference"].max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "gausian1d"}, "did you mean 'gaussian1d'"),
        ({"acceleration": 0.5}, "acceleration must be at least 1"),
        ({"center_fraction": 0.0}, "center_fraction must lie in"),
        ({"acceleration": 10}, "more than acceleration 10 allows"),
    ],
)
def test_impossible_masks_are_refused(volume, options, message):
    with pytest.raises(InputError, match=message):
        through(volume(SHAPE), LoadScan(), undersample(**options))


def test_complex_data_need_calibration_lines(kspace_file):
    path, _ = kspace_file(1)
    with pytest.raises(InputError, match="raise center_fraction"):
        through(path, LoadScan(), undersample(center_fraction=0.03, mask="equispaced"))


# scaling


@pytest.mark.parametrize("kind", ["magnitude", "coils"])
def test_scale_is_the_robust_maximum_of_the_zero_filled_image(kspace_file, volume, kind):
    source = volume(SHAPE) if kind == "magnitude" else kspace_file(3)[0]
    data = through(source, LoadScan(), undersample())
    out = Normalise()(data)
    if kind == "magnitude":
        spectrum = fft(torch.from_numpy(volume(SHAPE)).movedim(-1, 0)[:, None].to(torch.complex64)) * uncentre(data["mask"])
        zero = torch.fft.ifftn(spectrum, dim=(2, 3), norm="ortho").abs()
    else:
        zero = root_sum_of_squares(data["image"].as_tensor().movedim(-1, 0))
    assert out["scale"] == pytest.approx(robust_scale(zero), rel=1e-4)
    torch.testing.assert_close(out["image"].as_tensor() * out["scale"], data["image"].as_tensor())
    assert torch.equal(out["reference"].as_tensor(), data["reference"].as_tensor())


def test_the_scale_does_not_use_the_reference(volume):
    data = through(volume(SHAPE), LoadScan(), undersample())
    scale = Normalise()(data)["scale"]
    assert Normalise()(data | {"reference": data["reference"] * 100})["scale"] == scale
    assert Normalise()({key: value for key, value in data.items() if key != "reference"})["scale"] == scale


def test_scanner_units_cancel(volume):
    once, times = (through(k * volume(SHAPE), LoadScan(), undersample(), Normalise()) for k in (1, 40))
    assert times["scale"] == pytest.approx(40 * once["scale"], rel=1e-5)
    torch.testing.assert_close(times["image"].as_tensor(), once["image"].as_tensor(), rtol=1e-4, atol=1e-5)


# slices


@pytest.mark.parametrize(("text", "index"), [("all", [0, 1, 2]), ("1", [1]), ("1:", [1, 2]), ("central:1", [1])])
def test_a_slice_is_alike_alone_and_in_its_volume(volume, text, index):
    whole = through(volume(SHAPE), LoadScan(), undersample(), Normalise(), SelectSlices())
    part = through(volume(SHAPE), LoadScan(), undersample(), Normalise(), SelectSlices(text))
    assert part["slice_index"].tolist() == index and part["scale"] == whole["scale"]
    assert torch.equal(part["mask"], whole["mask"])
    for key in ("image", "reference"):
        assert torch.equal(part[key].as_tensor(), whole[key].as_tensor()[..., index])
        assert part[key].affine[2, 3] == whole[key].affine[2, 3] + index[0]


def test_slices_outside_are_refused(volume):
    with pytest.raises(InputError, match="the volume has 3 slices"):
        through(volume(SHAPE), LoadScan(), undersample(), Normalise(), SelectSlices("2:9"))


# and back


@pytest.mark.parametrize("affine", [SAGITTAL, np.diag([-1.0, 1, 5, 1]), np.diag([1.0, -5, 1, 1])])
def test_restored_volumes_lie_as_the_stored_scan(nifti, volume, affine):
    array = volume(SHAPE)
    axis = int(np.argmax(np.abs(affine[:3, :3]).max(axis=0)))
    array = np.moveaxis(array, 2, axis)
    data = through(
        nifti(array, affine), LoadScan(), undersample(), Normalise(), SelectSlices(), Restore(keys=["reference", "std"])
    )
    assert "std" not in data
    assert np.array_equal(data["reference"].as_tensor()[0].numpy(), array)
    assert np.allclose(data["reference"].affine, affine)


def test_chosen_slices_are_restored_to_their_place(nifti, volume):
    data = through(
        nifti(volume(SHAPE), SAGITTAL), LoadScan(), undersample(), Normalise(), SelectSlices("2"), Restore(keys=("reference",))
    )
    reference = data["reference"]
    assert np.array_equal(reference.as_tensor()[0].numpy(), volume(SHAPE)[..., 2:])
    assert np.allclose(reference.affine.numpy() @ [0, 0, 0, 1], SAGITTAL @ [0, 0, 2, 1])


def test_no_transform_changes_what_it_is_given(volume):
    data = through(volume(SHAPE), LoadScan())
    for transform in (undersample(), Normalise(), SelectSlices("1"), Restore(keys=("reference",))):
        kept = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in data.items()}
        following = transform(data)
        assert data.keys() == kept.keys()
        assert all(torch.equal(data[k], v) if isinstance(v, torch.Tensor) else data[k] == v for k, v in kept.items())
        data = following

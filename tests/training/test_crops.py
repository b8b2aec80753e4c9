"""Training crops: the same batch for the same step, another one for each step, in range and of the right kind."""

import nibabel as nib
import numpy as np
import pytest
import torch

from diffzoo.training.crops import SliceCrops


@pytest.fixture(scope="module")
def files(tmp_path_factory, volume):
    """A thick-sliced volume, an isotropic one, and a flat picture."""
    folder = tmp_path_factory.mktemp("volumes")
    made = {
        "thick": (volume((44, 40, 6), 0), np.diag([1.0, 1, 5, 1])),
        "isotropic": (volume((40, 36, 34), 1), np.eye(4)),
        "flat": (volume((48, 48, 1), 2), np.eye(4)),
    }
    for name, (array, affine) in made.items():
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii")
    return {name: str(folder / f"{name}.nii") for name in made}


def crops(files, *names, **options):
    return SliceCrops([files[n] for n in names or files], **{"crop": 32, "batch_size": 3, "batches": 4} | options)


def test_a_batch_is_a_function_of_seed_epoch_and_index(files):
    first, again = crops(files), crops(files)
    assert len(first) == 4
    for epoch in (1, 2):
        first.epoch = again.epoch = epoch
        for index in (3, 0, 2):  # in any order, and twice
            assert torch.equal(first[index]["image"], again[index]["image"])
            assert torch.equal(first[index]["image"], again[index]["image"])


def test_no_two_steps_and_no_two_seeds_draw_alike(files):
    data, other = crops(files), crops(files, seed=1)
    seen = [other[0]["image"]]
    for epoch in (1, 2):
        data.epoch = epoch
        seen += [data[index]["image"] for index in range(4)]
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 9


def test_the_last_step_of_an_epoch_is_followed_by_the_first_of_the_next(files):
    """Steps count through, so that epochs of another length draw the same sequence."""
    short, long = crops(files, batches=2), crops(files, batches=6)
    drawn = []
    for short.epoch in (1, 2, 3):
        drawn += [short[0]["image"], short[1]["image"]]
    assert all(torch.equal(one, long[i]["image"]) for i, one in enumerate(drawn))


def test_batches_are_crops_in_range(files):
    data = crops(files, batch_size=40, batches=1)
    image = data[0]["image"]
    assert image.shape == (40, 1, 32, 32) and image.dtype == torch.float32
    assert image.min() >= 0 and 0.7 < image.max() <= 1.3 * 1.2
    assert 0.2 < image.square().mean().sqrt() < 0.8
    assert (image.flatten(1).std(dim=1) > 0.02).float().mean() > 0.9  # nearly all show anatomy


def test_iteration_ends(files):
    data = crops(files)
    assert len(list(torch.utils.data.DataLoader(data, batch_size=None))) == 4
    for index in (-1, 4):
        with pytest.raises(IndexError):
            data[index]


def test_an_isotropic_volume_gives_three_orientations(files):
    data = crops(files, "thick", "isotropic")
    assert [len(group) for group in data.groups] == [1, 3]
    assert {stack.shape[0] for stack in data.groups[1]} <= set(range(1, 41))


def test_a_picture_counts_for_a_fifth_of_a_volume(files):
    data = crops(files, "thick", "flat", batch_size=1)
    assert data.weights.tolist() == pytest.approx([1.0, 0.2])


def test_a_window_larger_than_the_slice_is_padded(files):
    for crop in (64, 100):
        assert crops(files, "thick", crop=crop)[0]["image"].shape == (3, 1, crop, crop)
    assert crops(files, "thick", crop=44, zoom=(1.5, 2.0))[0]["image"].shape == (3, 1, 44, 44)


def test_gain_scales_and_nothing_else(files):
    plain, half = crops(files, gain=(1.0, 1.0)), crops(files, gain=(0.5, 0.5))
    torch.testing.assert_close(half[1]["image"], 0.5 * plain[1]["image"])


def test_intensities_do_not_depend_on_the_scanner_units(files, tmp_path, volume):
    nib.save(nib.Nifti1Image(volume((44, 40, 6), 0) * 0.01, np.diag([1.0, 1, 5, 1])), tmp_path / "small.nii")
    small = SliceCrops([str(tmp_path / "small.nii")], crop=32, batch_size=3, batches=4)
    torch.testing.assert_close(small[0]["image"], crops(files, "thick")[0]["image"], rtol=2e-3, atol=2e-3)


def test_nothing_to_train_on_is_told(tmp_path, volume):
    with pytest.raises(ValueError, match="list of files is empty"):
        SliceCrops([])
    spike = np.zeros((40, 40, 5), np.float32)
    spike[3, 3, 2] = 0.5
    nib.save(nib.Nifti1Image(spike, np.eye(4)), tmp_path / "spike.nii")
    with pytest.raises(ValueError, match=r"spike\.nii: no slice with anatomy"):
        SliceCrops([str(tmp_path / "spike.nii")], crop=32)

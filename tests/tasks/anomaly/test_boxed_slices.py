"""Training by patches: boxes of the seed, weights of a narrower network, and scans whose bright spots are filled."""

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head
from safetensors.torch import save_file

from diffzoo.diffusion.noise import white
from diffzoo.imaging.hyperintense import bright_spots
from diffzoo.networks.unet import UNet
from diffzoo.tasks.anomaly.boxed_slices import BoxedSlices, PatchValidation
from diffzoo.training.brains import BrainSlices
from diffzoo.training.widen import prepare_wider

SIZE = (48, 56)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """T1 and FLAIR of one session, the FLAIR with a bright spot."""
    folder, paths = tmp_path_factory.mktemp("mr"), {}
    for modality in ("t1", "flair"):
        volume, affine, _ = toy_head(modality=modality, stripped=True)
        if modality == "flair":
            volume[22:26, 25:29, 20:23] = 1.8 * np.median(volume[volume > 0])
        paths[modality] = str(folder / f"p_{modality}.nii")
        nib.save(nib.Nifti1Image(volume, affine), paths[modality])
    return paths


def boxed(scans, **options):
    slices = BrainSlices([{"image": scans["t1"]}], SIZE, 4.0, batch_size=6, batches=4, **options)
    return BoxedSlices(slices, sides=(8, 16))


def test_a_box_is_a_square_over_tissue_and_comes_from_seed_epoch_and_index(scans):
    first, again = boxed(scans), boxed(scans)
    for epoch, index in ((1, 2), (3, 0)):
        first.slices.epoch = again.slices.epoch = epoch
        assert torch.equal(first[index]["concat"], again[index]["concat"])
    tissue, box = first[1]["concat"].split(1, 1)
    assert {int(n) for n in box.flatten(1).sum(1)} <= {64, 256} and (tissue * box).flatten(1).amax(1).all()
    assert not torch.equal(first[0]["concat"][:, 1], first[1]["concat"][:, 1]) and len(first) == 4
    assert torch.equal(first[1]["image"], first.slices[1]["image"])
    with pytest.raises(ValueError, match="sides"):
        BoxedSlices(first.slices, sides=(8, 60))


def test_validation_counts_the_boxes_alone(scans):
    class Engine:
        class state:
            device, iteration, output = "cpu", 1, None

        network = torch.nn.Identity()

        @staticmethod
        def inferer(x, network, sigma, **given):
            return x

    batch = boxed(scans)[0]
    found = PatchValidation(levels=(0.1,), noise=white)(Engine, batch)["psnr"]
    assert found == pytest.approx(20.0, abs=0.7)  # of noise of sd 0.1 in the box alone


def test_a_wider_network_does_what_the_narrow_one_did(tmp_path):
    options = {"channels": (32, 32), "shuffle": 2, "vector_size": 4}
    narrow, wide = UNet(concat_channels=1, **options), UNet(concat_channels=2, **options)
    for parameter in narrow.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_file(narrow.state_dict(), tmp_path / "narrow.safetensors")
    made = prepare_wider(wide, str(tmp_path / "narrow.safetensors"), 0, torch.device("cpu"))
    x, brain, box = torch.randn(2, 1, 16, 16), torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    given = {"c_noise": torch.zeros(2), "vector": torch.rand(2, 4)}
    answer = made(x, concat=torch.cat([brain, box], 1), **given)
    assert torch.allclose(answer, narrow(x, concat=brain, **given), atol=1e-5)
    with pytest.raises(ValueError, match="channels, more than"):
        prepare_wider(UNet(concat_channels=0, **options), str(tmp_path / "narrow.safetensors"), 0, torch.device("cpu"))
    with pytest.raises(FileNotFoundError):
        prepare_wider(wide, str(tmp_path / "none.safetensors"), 0, torch.device("cpu"))


def test_a_bright_spot_is_seen_inside_the_brain_and_not_at_its_rim():
    rng, brain = np.random.default_rng(0), np.zeros((30, 30, 4), bool)
    brain[4:26, 4:26] = True
    flair = np.where(brain, 0.75 + 0.02 * rng.standard_normal(brain.shape), 0)
    flair[14:16, 14:16, 1:3] = flair[4, 4:26] = 1.2
    spots = bright_spots(flair, brain, spreads=6)
    assert spots.sum() == 8 and spots[14:16, 14:16, 1:3].all()
    assert not bright_spots(flair, np.zeros_like(brain)).any()


def test_bright_spots_of_a_flair_are_filled_in_every_scan_of_the_session(scans):
    as_scanned, mended = (
        BrainSlices([{"image": scans["flair"], **more}], SIZE, 4.0, augment=False).slices
        for more in ({}, {"flair": scans["flair"]})
    )
    assert as_scanned.shape == mended.shape
    change = (as_scanned[:, 0] - mended[:, 0]).float()
    assert change.max() > 0.3 and (change != 0).float().mean() < 0.05
    plain, filled = (BrainSlices([{"image": scans["t1"], **more}], SIZE, 4.0).slices for more in ({}, {"flair": scans["flair"]}))
    assert 0 < (plain != filled).float().mean() < 0.05

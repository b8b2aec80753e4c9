"""Translation in latents: what is told, the batches of its training, and draws one target after the other."""

import pytest
import torch
from contrasts_toy import write_contrasts
from torch import nn

from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.samplers import euler
from diffzoo.diffusion.schedule import karras
from diffzoo.networks.autoencoder import Autoencoder
from diffzoo.networks.cola import ColaUNet
from diffzoo.networks.composite import LatentDiffusion
from diffzoo.tasks.translate.dataset import ContrastSlices
from diffzoo.tasks.translate.latent import TranslateLatents
from diffzoo.tasks.translate.latent_conditions import latent_conditions, regions_of
from diffzoo.tasks.translate.latent_slices import LatentContrasts, SingleContrasts, one_wanted

ROLES = ("t1", "t2", "flair")
SIZE = (48, 48)


def network_of(seed=0):
    torch.manual_seed(seed)
    parts = Autoencoder(channels=(8, 16, 16), latent_channels=2, attention=False), ColaUNet(2, 3, 3, (16, 32), (False, False))
    return LatentDiffusion(*parts).eval()


@pytest.fixture
def slices(tmp_path):
    for seed in range(2):
        write_contrasts(tmp_path, ROLES, f"p{seed}", seed)
    return ContrastSlices([{"image": str(p)} for p in sorted(tmp_path.iterdir())], ROLES, SIZE, 4.0, batch_size=4, batches=3)


def test_one_is_wanted_and_from_one_to_all_others_are_given():
    known = torch.tensor([[1.0, 1, 1, 0], [0, 1, 1, 0]]).repeat(500, 1)
    given, wanted = one_wanted(known, torch.Generator().manual_seed(0))
    assert (wanted.sum(1) == 1).all() and not (given * wanted).any() and ((given + wanted) <= known).all()
    assert set(given[::2].sum(1).tolist()) == {1, 2} and set(given[1::2].sum(1).tolist()) == {1}


def test_single_slices_are_of_contrasts_that_are_there(slices):
    batch = SingleContrasts(slices)[0]["image"]
    assert batch.shape == (4, 1, *SIZE) and (batch.amax((1, 2, 3)) > 0.3).all()


def test_batches_of_latents_hold_the_wanted_one_and_clear_what_is_not_given(slices):
    data = LatentContrasts(network_of(), slices, pool=2, batch_size=6, batches=2)
    batch, again = data[1], data[1]
    assert torch.equal(batch["image"], again["image"]) and batch["image"].shape == (6, 2, 12, 12)
    given, concat = batch["vector"][:, :3], batch["concat"]
    assert concat.shape == (6, 6 + 3 + 3 + 1, 12, 12)
    for k in range(3):
        assert not concat[given[:, k] == 0, 2 * k : 2 * k + 2].any() and (concat[:, 9 + k] == given[:, k, None, None]).all()
    data.epoch = 2
    assert not torch.equal(data[1]["image"], batch["image"])


def test_a_corrupted_source_holds_noise(slices):
    data = LatentContrasts(network_of(), slices, pool=2, batch_size=8, batches=1, corrupted=1)
    batch = data[0]
    picked = batch["vector"][:, 1] > 0
    assert picked.any() and batch["concat"][picked, 2:4].std() == pytest.approx(1, abs=0.15)


def test_regions_come_from_the_first_source_that_is_given():
    image = torch.rand(2, 3, 16, 16)
    given = torch.tensor([[0.0, 1, 1], [0, 0, 1]])
    inside = torch.ones(2, 1, 16, 16)
    found = regions_of(image, given, inside, 4)
    other = regions_of(image[:, [1, 2, 0]], given[:, [1, 2, 0]], inside, 4)
    assert found.shape == (2, 3, 4, 4) and torch.allclose(found.sum(1), torch.ones(2, 4, 4))
    assert torch.equal(found[1], other[1])
    changed = image.clone()
    changed[:, 0] = 5.0  # not given: a target never tells its own regions
    assert torch.equal(regions_of(changed, given, inside, 4), found)


def test_targets_are_made_one_by_one_and_do_not_hang_on_each_other():
    network, sigmas = network_of(), karras(3, 0.1, 5.0)
    nn.init.normal_(network.diffusion.unet.unet.out[-1].conv.weight, std=0.1)
    inferer = TranslateLatents(edm(1.0), euler, sigmas, ROLES, ROLES, slice_batch=2)
    image, told = torch.rand(1, 3, 16, 20, 3), {"inside": torch.ones(1, 1, 16, 20, 3)}
    told |= {
        "position": torch.linspace(0, 1, 3)[None],
        "slice_index": torch.arange(3)[None],
        "given": torch.tensor([[1.0, 0, 0]]),
    }
    both = inferer(image, network, wanted=torch.tensor([[0.0, 1, 1]]), **told)
    assert inferer.stats["network_calls"] == 6 and set(inferer.stats["weights"]) == {"t1", "regions"}
    alone = inferer(image, network, wanted=torch.tensor([[0.0, 0, 1]]), **told)
    torch.testing.assert_close(both[0, 2], alone[0, 2])
    assert not both[0, 0].any() and both[0, 1].any() and both.shape == (1, 3, 16, 20, 3)


def test_conditions_have_the_layout_of_the_network():
    latents = torch.rand(2, 3, 2, 4, 4)
    given, wanted = torch.tensor([[1.0, 0, 1], [0, 1, 0]]), torch.tensor([[0.0, 1, 0], [1, 0, 0]])
    told = latent_conditions(latents, torch.rand(2, 3, 4, 4), given, wanted, torch.ones(2, 1, 4, 4), torch.tensor([0.2, 0.8]))
    assert torch.equal(told["concat"][0, 4:6], latents[0, 2]) and not told["concat"][0, 2:4].any()
    assert torch.equal(told["vector"], torch.tensor([[1, 0, 1, 0, 1, 0, 0.2], [0, 1, 0, 1, 0, 0, 0.8]]))

"""Training pairs and the joint step: the same batch for the same step, one map for both images, a loss that falls."""

import math
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss
from warps_toy import oblique, smooth, textured

from diffzoo.diffusion.precond import eps_vp
from diffzoo.diffusion.schedule import discrete, linear_alphas, sigmas_of
from diffzoo.errors import InputError
from diffzoo.imaging import fields
from diffzoo.imaging.io.files import write_volume
from diffzoo.imaging.registration import centre
from diffzoo.networks.diffusemorph import DiffuseMorph
from diffzoo.tasks.register.dataset import RegistrationPairs
from diffzoo.tasks.register.pairs import LoadPair
from diffzoo.tasks.register.step import RegistrationStep, RegistrationValidation, label_loss, label_overlap
from diffzoo.training.replay import OldBatches
from diffzoo.training.steps import MemoryTold

SIZE = (20, 24, 16)
TABLE = linear_alphas(2000, 1e-6, 1e-2)


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """Three textured images with labels, on grids of their own."""
    folder, made = tmp_path_factory.mktemp("pairs"), []
    for k, shape in enumerate([(20, 24, 16), (22, 21, 18), (18, 26, 17)]):
        affine = oblique((0, 0, 0), (1, 1, 1), (1, 1, 1), shape, (3 * k, -2 * k, 5 * k))
        image = textured(shape, seed=10 * k)[0]
        write_volume(folder / f"{k}.nii.gz", image.numpy(), affine)
        write_volume(folder / f"{k}_label.nii.gz", ((image > 250).float() + (image > 330).float()).numpy(), affine, dtype="uint8")
        made.append({"image": str(folder / f"{k}.nii.gz"), "label": str(folder / f"{k}_label.nii.gz")})
    return made


@pytest.fixture(scope="module")
def cine(tmp_path_factory):
    """Two 4D files of two phases whose values tell file and phase."""
    folder = tmp_path_factory.mktemp("cine")
    for k in range(2):
        ramp = np.arange(18 * 18 * 12, dtype=np.float32).reshape(18, 18, 12)
        nib.save(nib.Nifti1Image(np.stack([ramp, ramp[::-1]], -1) * (k + 1), np.diag([2, 2, 5, 1])), folder / f"{k}.nii")
    return [{"image": str(folder / f"{k}.nii")} for k in range(2)]


def data(entries, **options):
    return RegistrationPairs(entries, **{"size": SIZE, "align": centre, "batch_size": 3, "batches": 4} | options)


def test_a_batch_is_a_function_of_seed_epoch_and_index(entries):
    first, again, other = data(entries), data(entries), data(entries, seed=1)
    for epoch, index in ((1, 2), (3, 2), (1, 2)):
        first.epoch = again.epoch = epoch
        assert all(torch.equal(first[index][key], again[index][key]) for key in first[index])
    assert len(first) == 4 and not torch.equal(first[0]["image"], other[0]["image"])
    assert not torch.equal(first[0]["image"], first[1]["image"])
    with pytest.raises(IndexError):
        first[4]


def test_pairs_are_those_that_inference_sees(entries):
    batch = data(entries, augment=False, batch_size=12)[0]
    assert batch["image"].shape == (12, 1, *SIZE) and set(batch) == {"image", "moving", "label", "moving_label"}
    assert set(batch["label"].unique().tolist()) <= {0, 1, 2}
    expected = {}
    for m, moving in enumerate(entries):
        for f, fixed in enumerate(entries):
            if m != f:
                case = {"image": fixed["image"], "label": fixed["label"], "moving": moving["image"]}
                expected[m, f] = LoadPair(1.0, SIZE, centre)(case | {"moving_label": moving["label"]})
    seen = set()
    for k in range(12):
        error = {pair: (batch["image"][k] - item["image"]).abs().max() for pair, item in expected.items()}
        f = min(error, key=error.get)[1]
        error = {m: (batch["moving"][k] - expected[m, f]["moving"]).abs().mean() for m in range(3) if m != f}
        m = min(error, key=error.get)
        assert error[m] < 0.02 and (batch["image"][k] - expected[m, f]["image"]).abs().max() < 1e-3
        assert (batch["label"][k] == expected[m, f]["label"]).all()
        assert (
            batch["moving_label"][k] != expected[m, f]["moving_label"]
        ).float().mean() < 0.1  # half a voxel between the middles
        seen.add((m, f))
    assert len(seen) >= 4


def test_both_images_are_moved_alike(entries):
    same = [entries[0], entries[0]]
    batch = data(same, jitter=0.0, batch_size=20, seed=3)[0]
    plain = data(same, augment=False)[0]["image"][:1]
    logs = [batch[key].clamp(0.05, 0.95).log() for key in ("image", "moving")]
    ratio = (logs[1] / logs[0]).flatten(2)  # the quotient of the gammas, one number a pair
    inside = ((batch["image"] > 0.1) & (batch["image"] < 0.9) & (batch["moving"] > 0.1) & (batch["moving"] < 0.9)).flatten(2)
    spread = torch.stack([r[i].std() for r, i in zip(ratio, inside, strict=True)])
    assert spread.max() < 0.02 and torch.equal(batch["label"], batch["moving_label"])
    assert (batch["image"] - plain).abs().flatten(1).mean(1).min() > 0.02  # and away from where they were
    jittered = data(same, jitter=1.0, batch_size=20, seed=3)[0]
    assert (jittered["label"] != jittered["moving_label"]).float().mean() > 0.005


def test_a_mirror_happens_in_half_of_the_batches_and_only_along_its_axis(entries):
    slope = torch.linspace(-1, 1, SIZE[0]).view(1, 1, -1, 1, 1)

    def leans(flips):
        pairs = data(entries[:2], flips=flips, batch_size=60)
        pairs.images = (0.5 + 0.4 * slope).expand(2, 1, *SIZE).contiguous().half()
        return (pairs[0]["image"] * slope).flatten(1).mean(1)

    assert 0.25 < (leans((0,)) < 0).float().mean() < 0.75 and (leans((1, 2)) > 0).all() and (leans(()) > 0).all()


def test_turns_are_turns_in_mm(entries):
    pairs = data(entries, grid_mm=(1.0, 1.0, 4.0), size=(20, 24, 8))
    matrix = pairs._affine(
        torch.tensor([[1.0, 1.0, 4.0]]).expand(50, 3), 0.3, 0.0, torch.zeros(3), torch.Generator().manual_seed(0)
    )
    scale = torch.diag(torch.tensor([1.0, 1.0, 4.0]))
    turn = scale @ matrix[:, :3, :3] @ torch.linalg.inv(scale)
    assert torch.allclose(turn @ turn.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5)
    middle = torch.tensor([9.5, 11.5, 3.5, 1.0])
    assert torch.allclose(matrix @ middle, middle.expand(50, 4), atol=1e-4)


def test_phases_of_one_file_are_paired_with_each_other(cine):
    pairs = data(cine, size=(18, 18, 12), grid_mm=None, phases=(0, 1), augment=False, batch_size=30)
    batch = pairs[0]
    up = (batch["image"][:, 0, -1] - batch["image"][:, 0, 0]).mean((1, 2)) > 0
    down = (batch["moving"][:, 0, -1] - batch["moving"][:, 0, 0]).mean((1, 2)) < 0
    assert torch.equal(up, down) and 0.2 < up.float().mean() < 0.8 and "label" not in batch
    forth = data(cine, size=(18, 18, 12), grid_mm=None, phases=(0, 1), both_ways=False, augment=False, batch_size=30)[0]
    assert ((forth["moving"][:, 0, -1] - forth["moving"][:, 0, 0]).mean((1, 2)) > 0).all()


def test_nothing_to_pair_is_refused(entries):
    for few in ([], entries[:1]):
        with pytest.raises(ValueError, match="no pair can be drawn"):
            data(few)


def tiny_pair():
    """A slice, its bent copy, and their labels, [1, 1, 32, 32]."""
    moving = (textured((32, 32), seed=2) / 500).clamp(0, 1)
    field = fields.integrate(smooth((32, 32), 2.0, seed=1, knots=2))
    label = (moving > 0.55).float()
    return {
        "image": fields.warp(moving, field),
        "moving": moving,
        "label": fields.warp(label, field, nearest=True),
        "moving_label": label,
    }


def engine(**options):
    torch.manual_seed(0)
    network = DiffuseMorph(2, channels=(16, 32), deform_channels=(16, 16, 16, 16), deform_shuffle=1, **options)
    state = SimpleNamespace(device=torch.device("cpu"), iteration=1, output=None)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    similarity = LocalNormalizedCrossCorrelationLoss(spatial_dims=2, kernel_size=9, smooth_dr=1e-2)
    return SimpleNamespace(network=network, state=state, optimizer=optimizer, loss_function=similarity)


def steps(made, step, count):
    out = []
    for k in range(count):
        made.state.iteration = k + 1
        out.append(step(made, tiny_pair()))
    return out


SIGMAS = discrete(sigmas_of(TABLE).tolist())


@pytest.mark.parametrize("options, label_weight", [({}, 0.0), ({"velocity": True}, 1.0)])
def test_twenty_steps_on_one_pair_lower_the_loss_and_register_it(options, label_weight):
    made = engine(**options)
    validate = RegistrationValidation(eps_vp(TABLE), 1e-3)
    before = validate(made, tiny_pair())
    assert before["ncc"] == pytest.approx(before["ncc_before"], abs=1e-5) and before["folding"] == 0
    out = steps(made, RegistrationStep(eps_vp(TABLE), SIGMAS, label_weight=label_weight), 20)
    late, early = (sum(o["similarity"] for o in part) for part in (out[-5:], out[:5]))
    assert late < early - 0.1 and out[-1]["loss"] < out[0]["loss"]
    after = validate(made, tiny_pair())
    assert 1 - after["ncc"] < 0.6 * (1 - before["ncc"]) and after["dice"] > after["dice_before"] and after["folding"] < 0.01
    assert math.isfinite(out[-1]["roughness"]) and out[-1]["roughness"] > 0


def test_a_step_is_a_function_of_seed_and_number():
    results = [steps(engine(), RegistrationStep(eps_vp(TABLE), SIGMAS, seed=seed), 3) for seed in (0, 0, 1)]
    assert results[0] == results[1] and results[0] != results[2]
    step, fresh = RegistrationStep(eps_vp(TABLE), SIGMAS), []
    for number in (1, 7, 7):  # as a resumed run would begin
        made = engine()
        made.state.iteration = number
        fresh.append(step(made, tiny_pair())["noise"])
    assert fresh[0] != fresh[1] == fresh[2]


def test_the_noise_term_is_the_denoising_loss_and_a_broken_step_moves_no_weight():
    made = engine()
    assert steps(made, RegistrationStep(eps_vp(TABLE), SIGMAS, weight=0.0), 1)[0]["noise"] == pytest.approx(1.0, abs=0.15)
    kept = [p.clone() for p in made.network.parameters()]
    made.loss_function = lambda x, y: (x - y).mean() * math.nan
    with pytest.raises(ArithmeticError, match="lower the learning rate"):
        steps(made, RegistrationStep(eps_vp(TABLE), SIGMAS), 1)
    assert all(torch.equal(a, b) for a, b in zip(kept, made.network.parameters(), strict=True))


class Bent:
    """Batches of five pairs of which each is the tiny one turned by itself; one of them lacks the label."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        pairs = [{key: value.rot90(k + index, (2, 3)) for key, value in tiny_pair().items()} for k in range(5)]
        batch = {key: torch.cat([pair[key] for pair in pairs]) for key in pairs[0]}
        batch["label"][1] = batch["moving_label"][1] = 0
        return batch


def moved(step, batch=None, count=2):
    """What a few steps of plain gradient descent tell, and the weights that they end with."""
    made = engine(velocity=True)
    torch.nn.init.normal_(made.network.deformation.net[-1].final_conv_out.conv.weight, std=0.1)
    made.optimizer = torch.optim.SGD(made.network.parameters(), lr=0.01)
    out = []
    for k in range(count):
        made.state.iteration = k + 1
        out.append(step(made, batch or Bent()[0]))
    return out, made.network.state_dict()


def close(weights, others):
    return all(torch.allclose(weights[key], others[key], atol=1e-5) for key in others)


@pytest.mark.parametrize("parts", [2, 5, 9])
def test_pairs_in_parts_give_the_same_step(parts):
    told, weights = moved(RegistrationStep(eps_vp(TABLE), SIGMAS, label_weight=1.0))
    ours, same = moved(RegistrationStep(eps_vp(TABLE), SIGMAS, label_weight=1.0, accumulate=parts))
    for found, expected in zip(ours, told, strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert close(same, weights)
    with pytest.raises(ValueError, match="set accumulate to 1 or more"):
        RegistrationStep(None, SIGMAS, accumulate=0)


def test_pairs_shared_by_two_processes_give_the_same_step(monkeypatch):
    """The mean of what the two tell, each with its share, is what one tells of the whole batch."""
    [whole], _ = moved(RegistrationStep(eps_vp(TABLE), SIGMAS, label_weight=1.0), count=1)
    told = []
    for rank in (0, 1):
        monkeypatch.setattr("diffzoo.training.distributed.place", lambda rank=rank: (rank, 2))
        monkeypatch.setattr("diffzoo.tasks.register.step.place", lambda rank=rank: (rank, 2))
        monkeypatch.setattr("diffzoo.tasks.register.step.mean", lambda value: value)
        monkeypatch.setattr("diffzoo.training.steps.mean_gradients", lambda network: None)
        told += moved(RegistrationStep(eps_vp(TABLE), SIGMAS, label_weight=1.0), count=1)[0]
    assert {key: (told[0][key] + told[1][key]) / 2 for key in whole} == pytest.approx(whole, rel=1e-3)


def test_old_pairs_add_their_objective_from_noise_of_their_own():
    [one], _ = moved(RegistrationStep(eps_vp(TABLE), SIGMAS, weight=0.0), count=1)
    [both], _ = moved(RegistrationStep(eps_vp(TABLE), SIGMAS, weight=0.0, replay=OldBatches(Bent(), 3.0)), count=1)
    assert both["loss"] == one["loss"] == pytest.approx(1.0, rel=0.2)
    assert both["replay"] == pytest.approx(3.0, rel=0.2) and both["replay"] != pytest.approx(3 * one["loss"], rel=1e-6)
    assert "replay" not in moved(RegistrationStep(eps_vp(TABLE), SIGMAS, replay=OldBatches(Bent(), 0.0)), count=1)[0][0]


def test_without_diffusion_old_pairs_double_the_gradient():
    """There is no noise to differ by, so replay of the very batch with weight 1 moves the weights twice as far."""
    made = [RegistrationStep(None, SIGMAS, clip_grad=1e9, replay=replay) for replay in (None, OldBatches(Bent()))]
    start = moved(made[0], count=0)[1]
    (_, once), (told, twice) = (moved(step, count=1) for step in made)
    assert told[0]["replay"] == told[0]["loss"]
    assert close({key: start[key] + 2 * (once[key] - start[key]) for key in start}, twice)
    assert not close(once, twice)


def test_a_lack_of_memory_is_told_for_pairs_too():
    made, step = engine(), RegistrationStep(eps_vp(TABLE), SIGMAS)

    def refuse(module, args):
        if len(args[0]) > 2:
            raise MemoryError

    made.network.diffusion.register_forward_pre_hook(refuse)
    with pytest.raises(InputError, match="a batch of 5; 2 fit: set batch_size to 2, or accumulate to 3"):
        MemoryTold(step)(made, Bent()[0])


def test_overlap_of_labels_in_closed_form():
    a, b = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    a[0, 0, :2], b[0, 0, 1:3] = 1, 1  # half of each
    a[0, 0, 3], b[0, 0, 3, :2] = 2, 2  # 2 * 2 / (4 + 2)
    found = label_overlap(a, b)
    assert found[0] == pytest.approx((0.5 + 2 / 3) / 2) and found[1].isnan()
    still = torch.zeros(2, 2, 4, 4)
    assert label_loss(a[:1], a[:1], still[:1]) < 1e-4 < label_loss(a[:1], b[:1], still[:1])

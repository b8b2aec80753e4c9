"""The autoencoder's step: its terms by formula, a loss that falls, a resume to the bit, and what it refuses."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import MultiScalePatchDiscriminator, PatchDiscriminator
from torch import nn
from training_toy import CPU, Shades, same

from diffzoo.networks.autoencoder import Autoencoder
from diffzoo.training.adversarial import Companion, feature_distance, gaussian_kl, hinge, judged, least_squares, unconvinced
from diffzoo.training.autoencoder_step import AutoencoderStep, AutoencoderValidation, soft_label_loss
from diffzoo.training.handlers import EpochOf, Resume


def autoencoder(**options) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(**({"channels": (8, 16), "norm_num_groups": 4, "attention": False} | options))


def opponent(channels=1, lr=1e-3) -> Companion:
    torch.manual_seed(1)
    net = PatchDiscriminator(2, 4, channels, num_layers_d=1, norm="INSTANCE")
    return Companion(net, torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.9)))


def trainer(step, network, lr=3e-3, loss=None) -> Engine:
    engine = Engine(step)
    engine.network, engine.optimizer = network, torch.optim.Adam(network.parameters(), lr=lr)
    engine.loss_function, engine.state.device = loss or nn.L1Loss(), CPU
    return engine


def blobs(count=4, labels=1, size=16, seed=0):
    """Smooth random images, or maps of that many labels."""
    x = torch.randn((count, labels, size, size), generator=torch.Generator().manual_seed(seed))
    x = nn.functional.avg_pool2d(x, 5, 1, 2) * 5
    return x.softmax(1) if labels > 1 else x.sigmoid()


def stepped(step, network, x, times=20, **options) -> list[dict]:
    engine = trainer(step, network, **options)
    told = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: told.append(dict(engine.state.output)))
    engine.run([{"image": x}] * times)
    return told


@pytest.mark.parametrize("adversarial", [False, True])
def test_the_loss_of_images_falls(adversarial):
    against = opponent() if adversarial else None
    told = stepped(AutoencoderStep(discriminator=against, adversarial_weight=0.01), autoencoder(), blobs())
    assert told[-1]["reconstruction"] < 0.6 * told[0]["reconstruction"]
    assert ("discriminator" in told[0]) == adversarial
    if adversarial:
        assert told[-1]["discriminator"] < told[0]["discriminator"]


def test_the_loss_of_soft_labels_falls():
    net = autoencoder(in_channels=3, soft_labels=True)
    told = stepped(AutoencoderStep(), net, blobs(labels=3), loss=soft_label_loss)
    assert told[-1]["loss"] < 0.6 * told[0]["loss"]


def test_the_loss_is_the_sum_of_its_terms_and_the_discriminator_joins_after_the_warmup():
    step = AutoencoderStep(0.5, opponent(), 0.25, warmup=2)
    before = copy.deepcopy(step.discriminator.state_dict())
    engine, after = trainer(step, autoencoder()), []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: after.append((dict(engine.state.output), copy.deepcopy(step.discriminator.state_dict()))),
    )
    engine.run([{"image": blobs()}] * 4)
    for number, (told, state) in enumerate(after, 1):
        total = told["reconstruction"] + 0.5 * told["kl"] + 0.25 * told.get("adversarial", 0)
        assert told["loss"] == pytest.approx(total, rel=1e-5)
        assert ("adversarial" in told) == ("discriminator" in told) == (number > 2)
        still = all(torch.equal(value, before["network"][name]) for name, value in state["network"].items())
        assert still == (number <= 2)


def test_terms_by_formula_and_the_seed():
    net, x = autoencoder(), blobs()
    first = stepped(AutoencoderStep(seed=4), copy.deepcopy(net), x, 1)[0]
    mean, sd = (value.detach() for value in net.encode(x))
    assert first["kl"] == pytest.approx(float(((mean**2 + sd**2 - 1) / 2 - sd.log()).mean()), rel=1e-5)
    assert stepped(AutoencoderStep(seed=4), copy.deepcopy(net), x, 3) == stepped(
        AutoencoderStep(seed=4), copy.deepcopy(net), x, 3
    )
    assert stepped(AutoencoderStep(seed=5), copy.deepcopy(net), x, 1)[0]["reconstruction"] != first["reconstruction"]


@settings(deadline=None, max_examples=25)
@given(mean=st.floats(-4, 4), sd=st.floats(0.05, 5))
def test_the_divergence_is_torchs_and_0_for_a_standard_normal(mean, sd):
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, sd), normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(torch.tensor(mean), torch.tensor(sd)), wanted, rtol=1e-4, atol=1e-5)
    assert gaussian_kl(torch.zeros(1), torch.ones(1)).item() == 0


def test_adversarial_losses_against_monai_and_by_hand():
    scores = [torch.randn(2, 1, 5, 4), torch.randn(2, 1, 2, 2)]
    theirs = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
    for target in (True, False):
        torch.testing.assert_close(least_squares(scores, float(target)), theirs(scores, target, for_discriminator=True))
    assert hinge([torch.tensor([0.5, 3.0, -1.0])], 1.0).item() == pytest.approx((0.5 + 0 + 2) / 3)
    assert hinge([torch.tensor([0.5, 3.0, -1.0])], -1.0).item() == pytest.approx((1.5 + 4 + 0) / 3)
    assert unconvinced([torch.tensor([1.0, 3.0]), torch.tensor([-4.0])]).item() == pytest.approx((-2 + 4) / 2)
    apart = feature_distance([torch.ones(2, 3), torch.zeros(4)], [torch.zeros(2, 3), torch.full((4,), -3.0)])
    assert apart.item() == pytest.approx((1 + 3) / 2)


def test_scores_and_features_of_one_scale_and_of_two():
    x = torch.randn(2, 1, 16, 16)
    one = PatchDiscriminator(2, 4, 1, num_layers_d=2, norm="INSTANCE")
    scores, features = judged(one(x))
    assert [s.shape[1] for s in scores] == [1]
    assert [f.shape[1] for f in features] == [4, 8, 16]
    two = MultiScalePatchDiscriminator(2, 1, 2, 4, 1, norm="INSTANCE", minimum_size_im=16)
    scores, features = judged(two(x))
    assert [s.shape[1] for s in scores] == [1, 1]
    assert [f.shape[1] for f in features] == [4, 8, 4, 8, 16]


def test_a_frozen_companion_lets_gradients_reach_the_image_alone():
    against, x = opponent(), torch.randn(1, 1, 8, 8, requires_grad=True)
    scores, plain = judged(against.frozen(x))[0], judged(against.network(x))[0]
    assert torch.equal(scores[0], plain[0])
    scores[0].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None and p.requires_grad for p in against.network.parameters())


def test_soft_label_loss_is_0_at_the_truth_and_grows_away_from_it():
    truth = blobs(labels=4)
    assert abs(soft_label_loss(truth, truth).item()) < 1e-5
    even = torch.full_like(truth, 0.25)
    losses = [soft_label_loss(truth.lerp(even, share), truth).item() for share in (0.2, 0.5, 1.0)]
    assert losses == sorted(losses)
    assert losses[0] > 1e-3


def test_slivers_of_a_class_do_not_drown_the_rest():
    """A class of which one slice has a thousandth of a voxel, and another slice all: volumes are those of the batch."""
    truth = blobs(2, labels=3)
    truth[0, 2] = 1e-3 / 256
    truth = truth / truth.sum(1, keepdim=True)
    found = truth.clone()
    found[0, 2] += 0.01
    found = found / found.sum(1, keepdim=True)
    assert soft_label_loss(found, truth).item() < 0.1


class Ended(Exception):
    """In place of a kill."""


def run(folder, end_at=0):
    """Three epochs of four steps with a discriminator from the third step on; ends within a step if told to."""
    torch.manual_seed(end_at)  # nothing hangs on it
    data, against, net = Shades(batches=4), opponent(), autoencoder()
    engine = trainer(AutoencoderStep(discriminator=against, warmup=2), net)
    objects = {"network": net, "optimizer": engine.optimizer, "discriminator": against}
    EpochOf(data).attach(engine)
    Resume(str(folder / "checkpoint.pt"), objects, minutes=1e-9).attach(engine)

    def end():
        raise Ended

    if end_at:
        engine.add_event_handler(Events.ITERATION_STARTED(once=end_at), end)
    engine.run(data, max_epochs=3)
    return {name: thing.state_dict() for name, thing in objects.items()}


def test_a_resumed_run_ends_with_the_very_bits_of_a_whole_one(tmp_path):
    for name, at in (("early", 2), ("late", 7)):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(Ended):
            run(folder, at)
        assert torch.load(folder / "checkpoint.pt", weights_only=True)["iteration"] == at - 1
    (tmp_path / "whole").mkdir()
    whole = run(tmp_path / "whole")
    assert whole["discriminator"]["optimizer"]["state"][0]["step"].item() == 10
    assert same(run(tmp_path / "early"), whole)
    assert same(run(tmp_path / "late"), whole)


@pytest.mark.parametrize("broken", ["image", "discriminator"])
def test_a_loss_that_is_not_finite_moves_nothing(broken):
    net, against, x = autoencoder(), opponent(), blobs()
    if broken == "image":
        x[0, 0, 0, 0] = torch.nan
    else:
        next(against.network.parameters()).data[:] = math.inf
    engine = trainer(AutoencoderStep(discriminator=against), net)
    before = copy.deepcopy((net.state_dict(), against.state_dict()))
    engine.state.iteration = 1
    with pytest.raises(ArithmeticError, match=r"step 1: not all is finite \(loss nan.*lower the learning rate"):
        engine._process_function(engine, {"image": x})
    assert all(torch.equal(value, before[0][name]) for name, value in net.state_dict().items())
    assert all(torch.equal(value, before[1]["network"][name]) for name, value in against.network.state_dict().items())


def test_mixed_precision_trains_float_weights():
    net = autoencoder(in_channels=3, soft_labels=True)
    step = AutoencoderStep(discriminator=opponent(3), autocast="bfloat16")
    told = stepped(step, net, blobs(labels=3), 3, loss=soft_label_loss)
    plain = stepped(AutoencoderStep(), autoencoder(in_channels=3, soft_labels=True), blobs(labels=3), 1, loss=soft_label_loss)
    assert told[0]["reconstruction"] == pytest.approx(plain[0]["reconstruction"], rel=0.05)
    assert told[0]["reconstruction"] != plain[0]["reconstruction"]
    assert all(p.dtype == torch.float32 for p in net.parameters())


class Halves(nn.Module):
    """Takes the first label for the last one, in half of the rows."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def encode(self, x):
        return x, torch.zeros_like(x)

    def decode(self, z, size):
        z = z.clone()
        z[:, :, :2] = z[:, [2, 1, 0], :2]
        return z[..., : size[1]]


def test_validation_tells_dice_of_each_label_and_psnr():
    maps = torch.zeros(1, 3, 4, 2)
    maps[:, 0] = 1
    maps[:, :, 3] = torch.tensor([0, 1.0, 0]).view(3, 1)
    engine = trainer(AutoencoderValidation(), Halves())
    told = AutoencoderValidation()(engine, {"image": maps})
    assert told["dice_1"] == told["dice"] == 1  # there is no label 2 in truth
    assert math.isnan(told["dice_2"])
    assert told["psnr"] == pytest.approx(-10 * math.log10(8 / 24), rel=1e-5)
    assert set(AutoencoderValidation()(trainer(AutoencoderValidation(), autoencoder()), {"image": blobs()})) == {"psnr"}

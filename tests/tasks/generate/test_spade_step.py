"""The generator's step: an image that nears the truth, its terms, who learns from whom, a resume to the bit, and refusals."""

import copy
import math

import pytest
import torch
from ignite.engine import Engine, Events
from monai.networks.nets import MultiScalePatchDiscriminator, PatchDiscriminator
from torch import nn
from torch.nn import functional as F
from training_toy import CPU, same

from diffzoo.networks.modality import ModalityClassifier
from diffzoo.networks.spade import SpadeGenerator
from diffzoo.tasks.generate.spade_step import SpadeStep, SpadeValidation
from diffzoo.training.adversarial import Companion
from diffzoo.training.handlers import Resume

TERMS = ("adversarial", "features", "kl", "modality", "perceptual", "anchor")


def painter() -> SpadeGenerator:
    torch.manual_seed(0)
    return SpadeGenerator(labels=3, channels=(12, 12, 8), style_size=4, hidden=8, style_channels=(6, 8))


def companion(network, lr=2e-3) -> Companion:
    return Companion(network, torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9)))


def opponent(scales=1) -> Companion:
    torch.manual_seed(1)
    if scales == 1:
        return companion(PatchDiscriminator(2, 4, 4, num_layers_d=1, norm="INSTANCE"))
    return companion(MultiScalePatchDiscriminator(scales, 1, 2, 4, 4, norm="INSTANCE", minimum_size_im=16))


def classifier() -> Companion:
    torch.manual_seed(2)
    return companion(ModalityClassifier(classes=2, channels=(4, 8)))


def scenes(count=6, size=16, seed=0) -> dict[str, torch.Tensor]:
    """Maps of three labels, two contrasts that paint them, and for a style another scene in the same contrast."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((2 * count, 3, size, size), generator=generator)
    maps = (6 * F.avg_pool2d(noise, 5, 1, 2)).softmax(1)
    modality = torch.arange(count) % 2
    shades = torch.tensor([[0.0, 0.4, 1.0], [0.0, 1.0, 0.3]])[modality].view(count, 3, 1, 1)
    image, style = ((part * shades).sum(1, keepdim=True) for part in maps.chunk(2))
    return {"label": maps[:count], "image": image, "style": style, "modality": modality}


def trainer(step, network, lr=4e-3) -> Engine:
    engine = Engine(step)
    engine.network, engine.optimizer = network, torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9))
    engine.loss_function, engine.state.device = nn.L1Loss(), CPU
    return engine


def stepped(step, network, batch, times=1, **options) -> list[dict]:
    engine, told = trainer(step, network, **options), []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: told.append(dict(engine.state.output)))
    engine.run([batch] * times)
    return told


@pytest.mark.parametrize("scales", [1, 2])
def test_the_loss_falls_and_those_beside_learn(scales):
    told = stepped(SpadeStep(opponent(scales), classifier()), painter(), scenes(), 25)
    first, last = ({key: sum(t[key] for t in part) / 5 for key in told[0]} for part in (told[:5], told[-5:]))
    assert last["loss"] < 0.85 * first["loss"]
    assert last["anchor"] < 0.7 * first["anchor"]
    assert last["classifier"] < first["classifier"]
    assert set(told[0]) == {"loss", *TERMS, "discriminator", "classifier"}


def test_the_terms_of_the_discriminator_come_after_the_warmup():
    batch = scenes()
    first, second = stepped(SpadeStep(opponent(), anchor_weight=7.0, kl_weight=0.5, warmup=1), painter(), batch, 2)
    assert first["loss"] == pytest.approx(7 * first["anchor"] + 0.5 * first["kl"], rel=1e-5)
    whole = second["adversarial"] + 10 * second["features"] + 7 * second["anchor"] + 0.5 * second["kl"]
    assert second["loss"] == pytest.approx(whole, rel=1e-4)


def test_the_loss_is_the_weighted_sum_and_each_term_its_formula():
    net, against, told_by, batch = painter(), opponent(), classifier(), scenes()
    step = SpadeStep(
        companion(copy.deepcopy(against.network)), companion(copy.deepcopy(told_by.network)), 3.0, 0.2, 0.7, 0.4, 5.0
    )
    told = stepped(step, copy.deepcopy(net), batch)[0]
    weights = {"adversarial": 1.0, "features": 3.0, "kl": 0.2, "modality": 0.7, "perceptual": 0.4, "anchor": 5.0}
    assert told["loss"] == pytest.approx(sum(weights[key] * told[key] for key in TERMS), rel=1e-5)
    real = against.network(torch.cat([batch["label"], batch["image"]], 1))
    with torch.no_grad():
        mean, sd = net.encode(batch["style"])
        kl = ((mean**2 + sd**2 - 1) / 2 - sd.log()).sum(1).mean()
        fakes = [net(batch["label"], mean + sd * torch.randn(mean.shape)) for _ in range(40)]  # the code of one step is one draw
        scores = [against.network(torch.cat([batch["label"], fake], 1))[-1] for fake in fakes]
        apart = torch.stack([(fake - batch["image"]).abs().mean() for fake in fakes])
    assert told["kl"] == pytest.approx(float(kl), rel=1e-5)
    assert told["classifier"] == pytest.approx(
        float(F.cross_entropy(told_by.network(batch["image"])[-1], batch["modality"])), rel=1e-5
    )
    assert apart.min() - 0.02 < told["anchor"] < apart.max() + 0.02
    doubts = [float((1 - real[-1]).relu().mean() + (1 + score).relu().mean()) for score in scores]
    assert min(doubts) - 0.05 < told["discriminator"] < max(doubts) + 0.05
    said = [-float(score.mean()) for score in scores]
    assert min(said) - 0.05 < told["adversarial"] < max(said) + 0.05


def test_without_a_classifier_its_terms_are_left_out():
    batch = scenes()
    del batch["modality"]
    told = stepped(SpadeStep(opponent()), painter(), batch)[0]
    assert set(told) == {"loss", "adversarial", "features", "kl", "anchor", "discriminator"}


def gradients(step, net, batch) -> dict[str, list]:
    """What one step gives to each network, whose learning rates are 0."""
    for one in (step.discriminator, step.classifier):
        one.optimizer.param_groups[0]["lr"] = 0.0
    stepped(step, net, batch, lr=0.0)
    networks = {"generator": net, "discriminator": step.discriminator.network, "classifier": step.classifier.network}
    return {name: [p.grad for p in network.parameters()] for name, network in networks.items()}


def test_the_discriminator_and_the_classifier_learn_from_their_own_losses_alone():
    batch = scenes()
    plain = gradients(SpadeStep(opponent(), classifier(), clip_grad=1e9), painter(), batch)
    other = gradients(SpadeStep(opponent(), classifier(), 1.0, 1.0, 1.0, 9.0, 2.0, clip_grad=1e9), painter(), batch)
    for name in ("discriminator", "classifier"):
        assert all(torch.equal(a, b) for a, b in zip(plain[name], other[name], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(plain["generator"], other["generator"], strict=True))


def test_the_style_reaches_the_image_through_the_code_and_the_code_alone():
    """No gradient from the image that is to be painted, and one from the style."""
    batch = scenes()
    batch["style"].requires_grad_()
    batch["label"].requires_grad_()
    net = painter()
    mean, _ = net.encode(batch["style"])
    net(batch["label"], mean).sum().backward()
    assert batch["style"].grad.abs().sum() > 0
    told = [
        stepped(SpadeStep(opponent()), painter(), scenes() | {"style": style})[0]["kl"]
        for style in (scenes()["style"], scenes(seed=9)["style"])
    ]
    assert told[0] != told[1]


class Ended(Exception):
    """In place of a kill."""


def run(folder, end_at=0):
    torch.manual_seed(end_at)
    net, against, told_by = painter(), opponent(2), classifier()
    engine = trainer(SpadeStep(against, told_by), net)
    objects = {"network": net, "optimizer": engine.optimizer, "discriminator": against, "classifier": told_by}
    Resume(str(folder / "checkpoint.pt"), objects, minutes=1e-9).attach(engine)

    def end():
        raise Ended

    if end_at:
        engine.add_event_handler(Events.ITERATION_STARTED(once=end_at), end)
    engine.run([scenes(seed=seed) for seed in range(3)], max_epochs=2)
    return {name: thing.state_dict() for name, thing in objects.items()}


def test_a_resumed_run_ends_with_the_very_bits_of_a_whole_one(tmp_path):
    for name in ("ended", "whole"):
        (tmp_path / name).mkdir()
    with pytest.raises(Ended):
        run(tmp_path / "ended", 5)
    assert torch.load(tmp_path / "ended" / "checkpoint.pt", weights_only=True)["iteration"] == 4
    assert same(run(tmp_path / "ended"), run(tmp_path / "whole"))


def test_a_loss_that_is_not_finite_moves_nothing():
    net, against, batch = painter(), opponent(), scenes()
    batch["style"][0, 0, 0, 0] = math.inf
    engine = trainer(SpadeStep(against), net)
    before = copy.deepcopy((net.state_dict(), against.network.state_dict()))
    engine.state.iteration = 3
    with pytest.raises(ArithmeticError, match=r"step 3: not all is finite \(.*lower the learning rate"):
        engine._process_function(engine, batch)
    for network, state in zip((net, against.network), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_mixed_precision_is_near_the_plain_step():
    half = stepped(SpadeStep(opponent(), classifier(), autocast="bfloat16"), painter(), scenes())[0]
    full = stepped(SpadeStep(opponent(), classifier()), painter(), scenes())[0]
    assert half["loss"] == pytest.approx(full["loss"], rel=0.1)
    assert half["loss"] != full["loss"]


class Copier(nn.Module):
    """Paints the second label in the shade that the style has on average."""

    def encode(self, style):
        return style.mean((1, 2, 3))[:, None], None

    def forward(self, maps, z):
        return maps[:, 1:2] * z[..., None, None]


def test_validation_tells_error_and_modality():
    batch = scenes(4)
    batch["image"] = batch["label"][:, 1:2] * batch["style"].mean((1, 2, 3), keepdim=True) + 0.1
    told_by = companion(ModalityClassifier(classes=2, channels=(4, 8)))
    told_by.network.last.weight.data.zero_()
    told_by.network.last.bias.data[:] = torch.tensor([1.0, 0.0])
    engine = trainer(SpadeValidation(), painter())
    engine.network = Copier()
    found = SpadeValidation(told_by)(engine, batch)
    assert found["psnr"] == pytest.approx(20, rel=1e-4)
    assert found["modality"] == 0.5
    assert set(SpadeValidation()(engine, batch)) == {"psnr"}

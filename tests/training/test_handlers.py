"""Learning rate, log, steps and initialisation, each seen apart from a whole run."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from diffzoo.diffusion.denoiser import EMA, loss
from diffzoo.diffusion.noise import stream
from diffzoo.diffusion.precond import edm
from diffzoo.networks.unet import UNet
from diffzoo.tasks.denoise import DenoiseInferer
from diffzoo.training.handlers import EMAUpdate, EpochOf, LearningRate, LossLog
from diffzoo.training.setup import adam, prepare
from diffzoo.training.steps import DenoisingValidation, DiffusionStep, output_of


class Scale(nn.Module):
    """One weight: the output is the input times it."""

    def __init__(self, value: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        return self.weight * x


def rate(steps=100, warmup=10, **options) -> LearningRate:
    return LearningRate(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=9.0), 2.0, steps, warmup, **options)


def test_the_rate_warms_up_and_falls_along_a_half_cosine():
    schedule = rate(floor=0.1)
    for step in (1, 5, 10, 50, 99, 100):
        cosine = (1 + math.cos(math.pi * step / 100)) / 2
        assert schedule.value(step) == pytest.approx(2.0 * min(1, step / 10) * (0.1 + 0.9 * cosine), rel=1e-5)
    assert schedule.value(100) == pytest.approx(0.2)
    assert schedule.value(1000) == pytest.approx(0.2)  # beyond the end it stays


def test_no_warm_up_starts_at_the_peak():
    assert rate(warmup=0).value(1) == pytest.approx(2.0, rel=1e-3)


def test_the_rate_is_set_before_each_step():
    schedule, seen = rate(), []
    engine = Engine(lambda engine, batch: seen.append(schedule.optimizer.param_groups[0]["lr"]))
    schedule.attach(engine)
    engine.run([0, 0], max_epochs=2)
    assert seen == [schedule.value(step) for step in (1, 2, 3, 4)]


def test_the_average_moves_after_each_step_and_the_dataset_learns_its_epoch():
    net, dataset, epochs = Scale(0.0), SimpleNamespace(epoch=0), []
    ema = EMA(net, decay=0.999)

    def step(engine, batch):
        net.weight.data.fill_(1.0)
        epochs.append(dataset.epoch)

    engine = Engine(step)
    EMAUpdate(ema, net).attach(engine)
    EpochOf(dataset).attach(engine)
    engine.run([0, 0], max_epochs=2)
    kept = 1.0
    for k in range(4):
        kept *= (1 + k) / (10 + k)
    assert float(ema.average.weight) == pytest.approx(1 - kept)
    assert epochs == [1, 1, 2, 2]


def test_the_log_appends_mean_loss_and_validation(tmp_path):
    values = iter([1.0, 2.0, 5.0, 7.0, 0.0, 1.0])

    def step(engine, batch):
        engine.state.output = {"loss": next(values)}
        return engine.state.output

    evaluator = SimpleNamespace(runs=0, state=SimpleNamespace(metrics={"psnr": 31.23456}))
    evaluator.run = lambda: setattr(evaluator, "runs", evaluator.runs + 1)
    engine, path = Engine(step), tmp_path / "logs" / "train.jsonl"
    LossLog(str(path), evaluator, every=2).attach(engine)
    engine.run([0, 0], max_epochs=3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.5), (4, 6.0), (6, 0.5)]
    assert [line.get("psnr") for line in lines] == [None, 31.235, 31.235]  # each second epoch, and the last
    assert evaluator.runs == 2
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)


def engine_for(net: nn.Module, iteration: int = 1) -> SimpleNamespace:
    """What a step needs of MONAI's trainer."""
    return SimpleNamespace(
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        loss_function=loss,
        inferer=DenoiseInferer(edm(0.5)),
        state=SimpleNamespace(device=torch.device("cpu"), iteration=iteration, output=None),
    )


def levels(batch, generator):
    return torch.rand(batch, generator=generator) + 0.1


def test_a_step_is_one_descent_on_the_loss_of_its_own_draw():
    x0 = torch.rand(4, 1, 8, 8)
    engine, twin = engine_for(Scale(), iteration=7), Scale()
    out = DiffusionStep(levels, seed=3, clip_grad=1e9)(engine, {"image": x0})
    generator = torch.Generator().manual_seed(stream(3, 7))
    sigma, noise = levels(4, generator), torch.randn(x0.shape, generator=generator)
    value = loss(DenoiseInferer(edm(0.5)).denoiser(twin), x0, sigma, noise).mean()
    value.backward()
    assert out == {"loss": pytest.approx(value.item())}
    assert engine.network.weight.item() == pytest.approx(float(twin.weight.detach() - 0.1 * twin.weight.grad))


def test_the_gradient_is_clipped():
    x0 = torch.rand(2, 1, 8, 8)
    engine = engine_for(Scale(100.0))
    DiffusionStep(levels, clip_grad=0.5)(engine, {"image": x0})
    assert engine.network.weight.item() == pytest.approx(100 - 0.1 * 0.5, rel=1e-4)


def test_draws_follow_step_and_seed():
    x0 = torch.rand(2, 1, 8, 8)

    def run(iteration, seed):
        return DiffusionStep(levels, seed)(engine_for(Scale(), iteration), {"image": x0})["loss"]

    assert run(1, 0) == run(1, 0)
    assert len({run(1, 0), run(2, 0), run(1, 1)}) == 3


def test_a_loss_that_is_not_finite_moves_nothing():
    engine = engine_for(Scale())
    with pytest.raises(ArithmeticError, match=r"step 1: the loss is nan"):
        DiffusionStep(levels)(engine, {"image": torch.full((1, 1, 4, 4), float("nan"))})
    assert engine.network.weight.item() == 0.5


def test_validation_is_the_psnr_of_a_known_denoiser():
    """A network of zeros leaves c_skip x: on a constant image c its error is (1 - skip) c - skip sigma n."""
    engine, c, sigma = engine_for(Scale(0.0)), 0.3, 0.2
    x0 = torch.full((2, 1, 64, 64), c)
    value = DenoisingValidation(levels=(sigma,))(engine, {"image": x0})["psnr"]
    skip = 0.25 / (0.25 + sigma**2)
    assert value == pytest.approx(-10 * math.log10(((1 - skip) * c) ** 2 + (skip * sigma) ** 2), abs=0.1)
    assert DenoisingValidation(levels=(sigma,))(engine, {"image": x0})["psnr"] == value  # the same noise each time
    less, more = (DenoisingValidation(levels=(s,))(engine, {"image": x0})["psnr"] for s in (0.05, 0.5))
    assert less > value > more and not engine.network.training
    assert DenoisingValidation(levels=(0.05, 0.5))(engine, {"image": x0})["psnr"] == pytest.approx((less + more) / 2)


def test_output_of_picks_a_value():
    assert output_of("psnr")({"psnr": 3.0, "loss": 1.0}) == 3.0


SMALL = {"channels": (8, 16), "norm_num_groups": 4, "num_head_channels": 8}


@pytest.mark.parametrize("dims", [2, 3])
def test_initial_weights_come_from_the_seed_alone(dims):
    torch.manual_seed(1)
    a = prepare(UNet(spatial_dims=dims, **SMALL), None, 5, torch.device("cpu"))
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    b = UNet(spatial_dims=dims, **SMALL)
    drawn = torch.random.get_rng_state()
    b = prepare(b, None, 5, torch.device("cpu"))
    assert torch.equal(torch.random.get_rng_state(), drawn) and not torch.equal(before, drawn)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    other = prepare(UNet(spatial_dims=dims, **SMALL), None, 6, torch.device("cpu"))
    assert any(not torch.equal(x, y) for x, y in zip(a.parameters(), other.parameters(), strict=True))


def test_layers_that_start_at_zero_stay_at_zero():
    net = prepare(UNet(**SMALL), None, 0, torch.device("cpu"))
    zeros = {name for name, value in UNet(**SMALL).state_dict().items() if not value.any()}
    assert any("out" in name for name in zeros)
    assert all(not net.state_dict()[name].any() for name in zeros if name.endswith("weight"))


def test_adam_has_the_moments_of_edm():
    group = adam(Scale(), 1e-3, weight_decay=0.1).param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.9, 0.99), 0.1)


def test_the_time_limit_counts_from_the_first_step(monkeypatch):
    from diffzoo.training.handlers import TimeLimit

    now, seen = [0.0], []
    monkeypatch.setattr("diffzoo.training.handlers.time.monotonic", lambda: now[0])
    engine = Engine(lambda engine, batch: seen.append(batch))
    engine.state.device = torch.device("cpu")

    def slow_start(engine):
        now[0] += 600.0  # reading, and a validation of the start

    engine.add_event_handler(Events.STARTED, slow_start)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: now.__setitem__(0, now[0] + 20.0))
    TimeLimit(1.0).attach(engine)
    engine.run([1], max_epochs=9)
    assert len(seen) == 4  # 60 s are not more than a minute, 80 s are

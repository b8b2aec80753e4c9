"""The best average is kept and shipped, a run without gain ends, and a broken one leaves its last good weights."""

import logging
import math

import pytest
import torch
from ignite.engine import Engine, Events
from safetensors.torch import load_file
from torch import nn
from training_toy import Shades, Toy, levels, trainer

from diffzoo.diffusion.denoiser import EMA
from diffzoo.errors import InputError
from diffzoo.networks import lora
from diffzoo.training.handlers import EMAUpdate, ExportWeights, LossLog, Resume
from diffzoo.training.handlers_best import KeepBest
from diffzoo.training.steps import DiffusionStep


class Counted(nn.Module):
    """A network of one weight, which tells the step that it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def run(tmp_path, values, patience=0, epochs=None, largest=True, name="psnr", first=False, resume=False, end_at=None):
    """A training whose validations after each epoch (and before, with `first`) give the listed values."""
    net, epochs = Counted(), epochs or len(values) - first
    ema, told = EMA(net, decay=0.0), iter(values)

    def step(engine, batch):
        net.weight.data.fill_(engine.state.iteration)
        engine.state.output = {"loss": 1.0}
        return engine.state.output

    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update({name: next(told)}))
    evaluator.state.key_metric_name = name
    run_of = Engine(step)
    plain_run = evaluator.run
    evaluator.run = lambda: plain_run([0])
    best = KeepBest(ema, evaluator, None, patience, largest)
    EMAUpdate(ema, net).attach(run_of)
    best.attach(run_of)
    LossLog(str(tmp_path / "log.jsonl"), evaluator, every=1, first=first).attach(run_of)
    if resume:
        Resume(str(tmp_path / "checkpoint.pt"), {"network": net, "ema": ema, "best": best}).attach(run_of)
    ExportWeights(ema, str(tmp_path / "model.safetensors"), best).attach(run_of)
    if end_at:
        run_of.add_event_handler(Events.ITERATION_COMPLETED(once=end_at), lambda e: e.terminate())
    run_of.run([0, 0], max_epochs=epochs)
    return run_of, best


def shipped(tmp_path) -> float:
    return float(load_file(tmp_path / "model.safetensors")["weight"])


@pytest.mark.parametrize(
    ("values", "largest", "epoch"),
    [((1.0, 3.0, 2.0, 3.0), True, 2), ((1.0, 3.0, 0.5, 2.0), False, 3), ((math.nan, 1.0, math.nan), True, 2)],
)
def test_the_best_average_is_shipped(tmp_path, values, largest, epoch):
    _, best = run(tmp_path, values, largest=largest)
    assert (best.value, best.step) == (values[epoch - 1], 2 * epoch)
    assert shipped(tmp_path) == 2 * epoch


def test_a_run_without_gain_ends_after_its_patience(tmp_path):
    engine, best = run(tmp_path, [1.0, 2.0, 1.5, 1.9, 9.0, 9.0], patience=2)
    assert (engine.state.epoch, best.step, best.since) == (4, 4, 2)
    assert shipped(tmp_path) == 4


def test_gains_renew_the_patience(tmp_path):
    engine, best = run(tmp_path, [1.0, 0.5, 2.0, 1.0, 3.0, 1.0], patience=2)
    assert engine.state.epoch == 6 and best.step == 10


def test_what_never_gains_stays_what_it_was(tmp_path):
    engine, best = run(tmp_path, [5.0, 4.0, 3.0, 2.0], patience=2, first=True)
    assert engine.state.epoch == 2 and (best.value, best.step) == (5.0, 0)
    assert shipped(tmp_path) == 0
    assert '"step": 0, "psnr": 5.0' in (tmp_path / "log.jsonl").read_text().splitlines()[0]


def test_the_end_is_judged_even_where_no_validation_was_due(tmp_path):
    engine, best = run(tmp_path, [1.0, 7.0], epochs=4, end_at=3)
    assert engine.state.iteration == 3 and (best.value, best.step) == (7.0, 3)
    assert shipped(tmp_path) == 3


def test_without_any_figure_the_last_average_is_shipped(tmp_path):
    _, best = run(tmp_path, [math.nan, math.nan])
    assert best.value is None and shipped(tmp_path) == 4


def test_a_run_resumed_after_its_early_end_trains_no_more(tmp_path):
    run(tmp_path, [3.0, 2.0, 1.0], patience=2, epochs=8, resume=True)
    engine, best = run(tmp_path, [], patience=2, epochs=8, resume=True)
    assert engine.state.iteration == 6 and (best.value, best.step, best.since) == (3.0, 2, 2)
    assert shipped(tmp_path) == 2


def test_a_missing_metric_is_named(tmp_path):
    ema, evaluator = EMA(Counted()), Engine(lambda engine, batch: None)
    KeepBest(ema, evaluator, "dice").attach(Engine(lambda engine, batch: None))
    evaluator.state.metrics = {"psnr": 1.0}
    with pytest.raises(InputError, match="no metric 'dice' to choose the best by; it has psnr"):
        evaluator.run([0])


def test_adapters_are_folded_in_when_weights_are_written(tmp_path):
    adapted = lora.add(Toy(16), rank=1)
    engine = trainer(DiffusionStep(levels), adapted)
    EMAUpdate(engine.ema, adapted).attach(engine)
    ExportWeights(engine.ema, str(tmp_path / "model.safetensors")).attach(engine)
    engine.run(Shades(), max_epochs=1)
    written = load_file(tmp_path / "model.safetensors")
    assert written.keys() == Toy(16).state_dict().keys()
    assert all(torch.equal(written[key], value.half()) for key, value in lora.merged(engine.ema.average).state_dict().items())
    assert not torch.equal(written["first.weight"].float(), Toy(16).first.weight)


@pytest.mark.parametrize("rescue", [True, False])
def test_a_loss_that_is_not_finite_leaves_the_last_good_weights(tmp_path, rescue, caplog):
    net = Toy()
    engine = trainer(DiffusionStep(levels), net)
    EMAUpdate(engine.ema, net).attach(engine)
    ExportWeights(engine.ema, str(tmp_path / "model.safetensors"), rescue=rescue).attach(engine)
    usual, averages = engine.loss_function, {}
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: averages.update(engine.ema.average.state_dict()))
    engine.loss_function = lambda *args: usual(*args) * (float("nan") if engine.state.iteration == 7 else 1)
    with pytest.raises(ArithmeticError, match="step 7: the loss is nan"), caplog.at_level(logging.WARNING):
        engine.run(Shades(), max_epochs=2)
    assert (tmp_path / "model.safetensors").exists() == rescue
    if rescue:
        written = load_file(tmp_path / "model.safetensors")
        assert all(torch.equal(written[key], value.half()) for key, value in averages.items())
        told = [record.getMessage() for record in caplog.records if "keeps the last good weights" in record.getMessage()]
        assert told == ["the loss is not finite: model.safetensors keeps the last good weights, of step 6"]


def test_another_failure_writes_no_weights(tmp_path):
    def broken(engine, batch):
        raise RuntimeError("of another kind")

    engine = trainer(broken, Toy())
    ExportWeights(engine.ema, str(tmp_path / "model.safetensors"), rescue=True).attach(engine)
    with pytest.raises(RuntimeError, match="of another kind"):
        engine.run(Shades(), max_epochs=1)
    assert not (tmp_path / "model.safetensors").exists()

"""The plot of a log, and TensorBoard with and without it."""

import io
import json
import logging
import sys
from types import ModuleType

import numpy as np
import pytest
from ignite.engine import Engine, Events
from PIL import Image
from training_toy import Shades, Toy, levels, trainer

from diffzoo.training.handlers import LossLog
from diffzoo.training.handlers_plots import LossPlot, TensorBoard, plot
from diffzoo.training.steps import DiffusionStep


def picture(lines) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(plot(lines))).convert("RGB"))


def test_a_plot_shows_each_loss_and_each_metric():
    lines = [{"step": 5 * k, "loss": 1 / k, "seconds": 1.0} for k in range(1, 6)]
    plain = picture(lines)
    measured = picture([*lines, {"step": 30, "loss": 0.1, "psnr": 30.0, "seconds": 2.0}])
    twice = picture([*lines, {"step": 30, "loss": 0.1, "psnr": 30.0, "dice": 0.5, "seconds": 2.0}])
    assert plain.shape[0] < measured.shape[0] < twice.shape[0]  # a panel more each
    replayed = picture([line | {"replay": 0.5} for line in lines])
    assert replayed.shape == plain.shape and not np.array_equal(replayed, plain)
    higher = picture([line | {"loss": line["loss"] ** 2} for line in lines])
    assert not np.array_equal(higher, plain)


def test_a_log_that_begins_before_the_first_step_is_drawn():
    assert picture([{"step": 0, "psnr": 20.0, "seconds": 0.0}, {"step": 5, "loss": 1.0, "psnr": 21.0, "seconds": 1.0}]).size
    assert picture([{"step": 0, "psnr": 20.0, "seconds": 0.0}]).size


def test_the_plot_is_written_as_the_training_goes(tmp_path):
    engine, seen = trainer(DiffusionStep(levels), Toy()), []
    LossLog(str(tmp_path / "log.jsonl")).attach(engine)
    LossPlot(str(tmp_path / "log.jsonl"), str(tmp_path / "plots" / "loss.png")).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append((tmp_path / "plots" / "loss.png").read_bytes()))
    engine.run(Shades(), max_epochs=3)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert seen == [plot(lines[: k + 1]) for k in range(3)]
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["loss.png"]


def test_without_tensorboard_it_says_so_and_trains(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    engine = trainer(DiffusionStep(levels), Toy())
    with caplog.at_level(logging.WARNING):
        TensorBoard(str(tmp_path)).attach(engine)
    assert "TensorBoard is not installed" in caplog.text
    engine.run(Shades(), max_epochs=1)
    assert engine.state.iteration == 5 and not list(tmp_path.iterdir())


@pytest.fixture
def written(monkeypatch):
    """What is written for TensorBoard by a stand-in of its writer: a list of (name, value, step), and "closed"."""
    told = []

    class SummaryWriter:
        def __init__(self, folder) -> None:
            told.append(folder)

        def add_scalar(self, name, value, step) -> None:
            told.append((name, value, step))

        def close(self) -> None:
            told.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return told


def test_tensorboard_gets_losses_and_metrics(written):
    engine, evaluator = trainer(DiffusionStep(levels), Toy()), Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update(psnr=float(engine.state.iteration)))
    TensorBoard("folder", evaluator).attach(engine)
    losses = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output["loss"]))
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    engine.run(Shades(batches=2), max_epochs=2)
    assert written[0] == "folder" and written[-1] == "closed"
    steps = [("loss", loss, k) for k, loss in enumerate(losses, 1)]
    assert written[1:-1] == [*steps[:2], ("psnr", 2.0, 2), *steps[2:], ("psnr", 4.0, 4)]

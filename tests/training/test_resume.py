"""A run killed within an epoch goes on from the last checkpoint to the very weights of an uninterrupted one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from training_toy import Shades, Toy, levels, same, trainer

from diffzoo.errors import InputError
from diffzoo.networks import lora
from diffzoo.training.handlers import EMAUpdate, EpochOf, ExportWeights, LearningRate, LossLog, Resume
from diffzoo.training.replay import Replay
from diffzoo.training.steps import DiffusionStep

EPOCHS, BATCHES = 3, 5


def run(folder: Path, kill_at: int = 0, minutes: float = 1e-9, adapted: bool = False, batches: int = BATCHES) -> dict:
    """A whole training in a folder, or one that is killed within the given step; gives network, average and moments."""
    data, net = Shades(batches=batches), lora.add(Toy(16), rank=1) if adapted else Toy(16)
    replay = Replay(net, Shades(-0.5, batches=2), levels) if adapted else None
    engine = trainer(DiffusionStep(levels, replay=replay), net)
    log = LossLog(str(folder / "log.jsonl"))
    objects = {"network": net, "ema": engine.ema, "optimizer": engine.optimizer, "log": log}
    for handler in (
        EpochOf(data),
        LearningRate(engine.optimizer, 0.02, EPOCHS * batches, warmup=3),
        EMAUpdate(engine.ema, net),
        log,
        Resume(str(folder / "checkpoint.pt"), objects, minutes=minutes),
        ExportWeights(engine.ema, str(folder / "model.safetensors")),
    ):
        handler.attach(engine)
    if kill_at:
        engine.add_event_handler(Events.ITERATION_STARTED(once=kill_at), lambda: os.kill(os.getpid(), signal.SIGKILL))
    engine.run(data, max_epochs=EPOCHS)
    return {name: objects[name].state_dict() for name in ("network", "ema", "optimizer")}


def told(folder: Path) -> list[str]:
    """The log without its seconds."""
    return [line.partition(', "seconds"')[0] for line in (folder / "log.jsonl").read_text().splitlines()]


def killed(folder: Path, step: int, **options) -> None:
    """Runs in a process of its own that gets SIGKILL within that step."""
    folder.mkdir(exist_ok=True)
    call = f"from pathlib import Path; import test_resume; test_resume.run(Path({str(folder)!r}), {step}, **{options!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ended = subprocess.run([sys.executable, "-c", call], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (folder / "model.safetensors").exists()


def compared(ours: Path, theirs: Path, adapted: bool = False) -> None:
    ended, whole = run(ours, adapted=adapted), run(theirs, adapted=adapted)
    assert same(ended, whole)
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    assert told(ours) == told(theirs)


def test_a_kill_within_an_epoch_changes_no_bit(tmp_path):
    """A checkpoint after each step; killed in the third of five steps of the second epoch, it goes on from the second."""
    killed(tmp_path / "killed", 8)
    saved = torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["iteration"], saved["batches"]) == (1, 7, 2)
    (tmp_path / "whole").mkdir()
    compared(tmp_path / "killed", tmp_path / "whole")


def test_adapters_with_replay_resume_too_and_twice(tmp_path):
    killed(tmp_path / "killed", 3, adapted=True)
    killed(tmp_path / "killed", 14, adapted=True)
    assert torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["iteration"] == 13
    (tmp_path / "whole").mkdir()
    compared(tmp_path / "killed", tmp_path / "whole", adapted=True)


class Ended(Exception):
    """In place of a kill, where one process will do."""


def ended_at(folder: Path, step: int, monkeypatch, **options) -> dict:
    def end(*_):
        raise Ended

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", end)
        with pytest.raises(Ended):
            run(folder, step, **options)
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_checkpoints_within_an_epoch_wait_for_their_minutes(tmp_path, monkeypatch):
    steps, plain = [], levels  # each of a minute, as the clock tells

    def counted(batch, generator):
        steps.append(batch)
        return plain(batch, generator)

    monkeypatch.setattr(sys.modules[__name__], "levels", counted)
    monkeypatch.setattr("time.monotonic", lambda: 60.0 * len(steps))
    for killed_at, iteration in ((3, None), (4, 3), (5, 3), (6, 5), (8, 5), (9, 8), (10, 8)):
        folder = tmp_path / str(killed_at)
        folder.mkdir()
        steps.clear()
        if iteration is None:
            with pytest.raises(FileNotFoundError):
                ended_at(folder, killed_at, monkeypatch, minutes=2.5)
        else:
            saved = ended_at(folder, killed_at, monkeypatch, minutes=2.5)
            assert (saved["iteration"], saved["batches"]) == (iteration, iteration % BATCHES)


def test_without_minutes_only_epochs_are_kept(tmp_path, monkeypatch):
    assert ended_at(tmp_path, 8, monkeypatch, minutes=0)["iteration"] == 5


def test_an_epoch_of_another_length_is_refused(tmp_path, monkeypatch):
    ended_at(tmp_path, 8, monkeypatch)
    with pytest.raises(InputError, match="from within an epoch of another length: set steps_per_epoch to what it was"):
        run(tmp_path, batches=4)

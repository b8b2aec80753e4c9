"""Two real processes train one network as one process with their whole batch does; the first of them alone writes files."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import Average
from training_toy import Shades, Toy, error, levels, trainer

from diffzoo.errors import InputError
from diffzoo.networks import lora
from diffzoo.networks.weights import save_weights
from diffzoo.tasks.launch import launch
from diffzoo.training import distributed
from diffzoo.training.handlers import EMAUpdate, EpochOf, ExportWeights, LearningRate, LossLog, Resume, TimeLimit
from diffzoo.training.handlers_best import KeepBest
from diffzoo.training.handlers_plots import LossPlot
from diffzoo.training.replay import Replay
from diffzoo.training.steps import DiffusionStep, MemoryTold

EPOCHS, BATCHES = 4, 3
RUNS = {
    "plain": {},
    "parts": {"accumulate": 2, "batch_size": 7},  # shares of 4 and 3, in 2 parts each
    "adapters": {"adapted": True, "batch_size": 5},
    "patience": {"patience": 1, "lr": 0.0},
    "clock": {"minutes": 1e-9},
}


def run(folder: Path, batch_size=4, accumulate=1, adapted=False, patience=0, lr=0.02, minutes=0.0) -> None:
    """A whole training with every handler, whose files go to a folder."""
    data, net = Shades(batches=BATCHES, batch_size=batch_size), lora.add(Toy(16), rank=1) if adapted else Toy(16)
    replay = Replay(net, Shades(-0.5, batches=2, batch_size=3), levels) if adapted else None
    engine = trainer(MemoryTold(DiffusionStep(levels, accumulate=accumulate, replay=replay)), net)
    evaluator = Engine(lambda evaluator, batch: -error(engine.ema.average, 0.5))
    Average().attach(evaluator, "gain")
    evaluator.run = partial(evaluator.run, [0, 0])
    best = KeepBest(engine.ema, evaluator, "gain", patience)
    objects = {"network": net, "ema": engine.ema, "optimizer": engine.optimizer, "best": best}
    for handler in (
        EpochOf(data),
        LearningRate(engine.optimizer, lr, EPOCHS * BATCHES, warmup=3),
        EMAUpdate(engine.ema, net),
        best,
        LossLog(str(folder / "log.jsonl"), evaluator, every=1, first=True),
        LossPlot(str(folder / "log.jsonl"), str(folder / "loss.png")),
        Resume(str(folder / "checkpoint.pt"), objects, minutes=1e-9),
        TimeLimit(minutes),
        ExportWeights(engine.ema, str(folder / "model.safetensors"), best),
    ):
        handler.attach(engine)
    engine.run = partial(engine.run, data, max_epochs=EPOCHS)
    launch(engine)
    if int(os.environ.get("RANK", "0")) == 1:  # what the other process ended with
        save_weights(lora.merged(net), folder.parent / f"{folder.name}_other.safetensors")


def runs(place: Path) -> None:
    """All of them; each process has a folder of its own, to show which of them writes."""

    def every() -> None:
        for name, options in RUNS.items():
            folder = place / os.environ.get("RANK", "one") / name
            folder.mkdir(parents=True)
            run(folder, **options)

    engine = trainer(lambda engine, batch: None, Toy())
    engine.run = every  # processes join but once: the launches inside find them together
    launch(engine)
    assert not torch.distributed.is_initialized()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Files of two processes, and of one process on the same batches."""
    place = tmp_path_factory.mktemp("processes")
    program = place / "program.py"
    program.write_text(f"from pathlib import Path\nimport test_distributed\ntest_distributed.runs(Path({str(place)!r}))\n")
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(program)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=3000)
    assert ended.returncode == 0, ended.stderr
    runs(place)
    return place


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def saved(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one_with_the_whole_batch(places, name):
    ours, theirs = (saved(places / who / name) for who in ("0", "one"))
    assert ours["iteration"] == theirs["iteration"]
    for key, value in theirs["network"].items():
        torch.testing.assert_close(ours["network"][key], value, atol=1e-4, rtol=1e-4)
    lines, alone = log(places / "0" / name), log(places / "one" / name)
    assert [line["step"] for line in lines] == [line["step"] for line in alone]
    for key in ("loss", "replay", "gain"):
        told, once = ([line[key] for line in some if key in line] for some in (lines, alone))
        assert told == pytest.approx(once, abs=1.5e-3)
    assert ("replay" in lines[-1]) == (name == "adapters")


@pytest.mark.parametrize("name", RUNS)
def test_both_processes_end_with_the_same_network_and_one_writes(places, name):
    assert sorted(path.name for path in (places / "0" / name).iterdir()) == [
        "checkpoint.pt",
        "log.jsonl",
        "loss.png",
        "model.safetensors",
    ]
    assert not list((places / "1" / name).iterdir())
    net = lora.add(Toy(16), rank=1) if RUNS[name].get("adapted") else Toy(16)
    net.load_state_dict(saved(places / "0" / name)["network"])
    save_weights(lora.merged(net), places / "expected.safetensors")
    assert (places / "1" / f"{name}_other.safetensors").read_bytes() == (places / "expected.safetensors").read_bytes()


def test_it_did_learn_and_both_stop_together(places):
    lines = log(places / "0" / "plain")
    assert lines[-1]["gain"] > lines[0]["gain"] + 0.1
    assert saved(places / "0" / "patience")["epoch"] == 1  # nothing can be gained at a rate of 0
    assert saved(places / "0" / "clock")["epoch"] == 1


def test_shares_are_all_items_once(monkeypatch):
    for world in (1, 2, 3):
        for parts in (1, 2, 5):
            for items in (3, 4, 7):
                taken = []
                for rank in range(world):
                    monkeypatch.setattr(distributed, "place", lambda rank=rank, world=world: (rank, world))
                    mine = [list(range(items))[part] for part in distributed.shares(items, parts)]
                    assert all(mine) and len(mine) <= parts
                    assert math.ceil(items / world) - 1 <= sum(map(len, mine)) <= math.ceil(items / world)
                    taken += [item for part in mine for item in part]
                assert sorted(taken) == list(range(items))


def test_a_batch_smaller_than_the_processes_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "place", lambda: (1, 3))
    with pytest.raises(InputError, match="a batch of 2 cannot be shared by 3 processes: raise batch_size"):
        distributed.shares(2)


def test_in_several_processes_half_of_the_batch_is_named_untried(monkeypatch):
    tried = []

    def step(engine, batch):
        tried.append(len(batch["image"]))
        raise MemoryError

    monkeypatch.setattr("diffzoo.training.steps.place", lambda: (0, 2))
    with pytest.raises(InputError, match="out of memory with a batch of 4; 2 fit"):
        trainer(MemoryTold(step), Toy()).run(Shades(), max_epochs=1)
    assert tried == [4]


def test_one_process_has_nothing_to_share():
    value = torch.tensor([1.0, 2.0])
    assert distributed.place() == (0, 1) and distributed.leads()
    assert distributed.mean(value) is value
    assert distributed.told_by_first(True, torch.device("cpu")) is True

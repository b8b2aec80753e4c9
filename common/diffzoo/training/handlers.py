"""Ignite handlers of a training run: EMA, learning rate, resume, time limit, log and the final weight file.

In a run of several processes all validate, on the same numbers, and the first alone writes files.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from torch import nn

from diffzoo.atomic import atomic
from diffzoo.diffusion.denoiser import EMA
from diffzoo.errors import InputError
from diffzoo.networks.lora import merged
from diffzoo.networks.weights import save_weights
from diffzoo.training.distributed import leads, told_by_first
from diffzoo.training.handlers_best import KeepBest

LOSSES = ("loss", "replay", "ambiguity_kl", "ambiguity_slope")  # of a step's output, whose means are logged


class EMAUpdate:
    """Moves the average after every optimiser step."""

    def __init__(self, ema: EMA, network: nn.Module) -> None:
        self.ema, self.network = ema, network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: self.ema.update(self.network))


class LearningRate:
    """Linear warm-up, then a half cosine from `peak` to `floor` x peak at `steps`; a function of the step alone."""

    def __init__(self, optimizer: torch.optim.Optimizer, peak: float, steps: int, warmup: int = 100, floor: float = 0.05) -> None:
        self.optimizer, self.peak, self.steps, self.warmup, self.floor = optimizer, peak, steps, warmup, floor

    def value(self, step: int) -> float:
        """Learning rate of step 1, 2, ..."""
        progress = min(1.0, step / self.steps)
        cosine = 0.5 * (1 + torch.cos(torch.tensor(progress * torch.pi)).item())
        return self.peak * min(1.0, step / max(1, self.warmup)) * (self.floor + (1 - self.floor) * cosine)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.value(engine.state.iteration)


class Resume:
    """Writes a checkpoint at the end of each `every`-th epoch, and starts from it when it is there.

    `objects` maps names to things with a state dict (network, optimizer, ema; best and log where they are used). With `minutes`
    above 0 one is also written within an epoch, after the first step when so many have passed. Written beside and renamed, so a
    kill leaves the last whole one. Data, noise and learning rate are functions of the step, so nothing else needs to be kept.
    Raises InputError at the start for a checkpoint that does not fit the objects.
    """

    def __init__(self, path: str, objects: Mapping, every: int = 1, enabled: bool = True, minutes: float = 0) -> None:
        self.path, self.objects, self.every, self.enabled = Path(path), dict(objects), every, enabled
        self.minutes, self.written = minutes, time.monotonic()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.every), self._save)
        if self.minutes:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._save_within)

    def _load(self, engine: Engine) -> None:
        self.written = time.monotonic()
        if not (self.enabled and self.path.exists()):
            return
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            for name, thing in self.objects.items():
                thing.load_state_dict(saved[name])
        except Exception as error:  # a file of another kind, or the state of another network
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.path} does not fit this training ({reason}): delete it, or set resume to false") from error
        engine.state.epoch, engine.state.iteration = saved["epoch"], saved["iteration"]
        if done := saved.get("batches", 0):  # of the epoch that was broken off
            if done != saved["iteration"] % engine.state.epoch_length:
                raise InputError(f"{self.path} is from within an epoch of another length: set steps_per_epoch to what it was")
            engine.state.dataloader = _Later(engine.state.dataloader, done)
        engine.logger.info(f"resumed from {self.path.name} at step {saved['iteration']}")

    def _save_within(self, engine: Engine) -> None:
        if time.monotonic() - self.written > 60 * self.minutes and (done := engine.state.iteration % engine.state.epoch_length):
            self._save(engine, done)

    def _save(self, engine: Engine, done: int = 0) -> None:
        if not leads():
            return
        state = {name: thing.state_dict() for name, thing in self.objects.items()}
        state |= {"epoch": engine.state.epoch - bool(done), "iteration": engine.state.iteration, "batches": done}
        with atomic(self.path, own=False) as beside:
            torch.save(state, beside)
        self.written = time.monotonic()


class _Later:
    """A loader whose first pass begins after `done` batches."""

    def __init__(self, loader, done: int) -> None:
        self.loader, self.done = loader, done

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        done, self.done = self.done, 0
        return islice(iter(self.loader), done, None)


class TimeLimit:
    """Ends the run at the first epoch end after `minutes` from its first step; 0 sets no limit.

    What comes before the step (reading data, a validation of the start) and an earlier, resumed part do not count.
    """

    def __init__(self, minutes: float = 0) -> None:
        self.minutes = minutes

    def attach(self, engine: Engine) -> None:
        self.started = None
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)

    def _start(self) -> None:
        if self.started is None:
            self.started = time.monotonic()

    def _check(self, engine: Engine) -> None:
        if self.minutes and told_by_first(time.monotonic() - self.started > 60 * self.minutes, engine.state.device):
            engine.logger.info(f"time limit of {self.minutes} minutes reached at step {engine.state.iteration}")
            engine.terminate()


class LossLog:
    """Appends one JSON line an epoch to `path`: step, mean loss (and replay term), validation metrics, seconds.

    The evaluator runs each `every` epochs and at the last; with `first` before the first step too, which tells what the training
    starts from. In a checkpoint its state keeps the sums of an epoch that is broken off.
    """

    def __init__(self, path: str, evaluator: Engine | None = None, every: int = 5, first: bool = False) -> None:
        self.path, self.evaluator, self.every, self.first = Path(path), evaluator, every, first
        self.totals, self.count = {"loss": 0.0}, 0

    def state_dict(self) -> dict:
        """Sums and number of the losses of this epoch so far."""
        return {"totals": self.totals, "count": self.count}

    def load_state_dict(self, state: Mapping) -> None:
        """Goes on from such a state."""
        self.totals, self.count = dict(state["totals"]), state["count"]

    def attach(self, engine: Engine) -> None:
        self.started = time.monotonic() - self._earlier()
        if self.first:
            engine.add_event_handler(Events.EPOCH_STARTED(once=1), self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _earlier(self) -> float:
        """Seconds of the parts of a resumed run that the log already tells of."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        return json.loads(lines[-1])["seconds"] if lines else 0.0

    def _begin(self, engine: Engine) -> None:
        if engine.state.iteration == 0:
            self._append(engine, {"step": 0} | self._validated())

    def _add(self, engine: Engine) -> None:
        figures = {key: engine.state.output[key] for key in LOSSES if key in engine.state.output}
        self.totals, self.count = {key: self.totals.get(key, 0.0) + value for key, value in figures.items()}, self.count + 1

    def _write(self, engine: Engine) -> None:
        means = {key: round(total / max(1, self.count), 5) for key, total in self.totals.items()}
        line = {"step": engine.state.iteration} | means
        if engine.state.epoch % self.every == 0 or engine.state.epoch == engine.state.max_epochs:
            line |= self._validated()
        self.totals, self.count = {"loss": 0.0}, 0
        self._append(engine, line)

    def _validated(self) -> dict:
        if self.evaluator is None:
            return {}
        self.evaluator.run()
        metrics = self.evaluator.state.metrics.items()
        return {name: round(value, 3) for name, value in metrics if math.isfinite(value)}  # NaN: there was nothing to judge by

    def _append(self, engine: Engine, line: dict) -> None:
        line = line | {"seconds": round(time.monotonic() - self.started, 1)}
        if leads():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        engine.logger.info(" ".join(f"{key} {value}" for key, value in line.items()))


class ExportWeights:
    """Writes the averaged network as fp16 safetensors when the run ends, also when it was ended by the time limit.

    Where `best` is given, it is the average that did best, and adapters are folded in. With `rescue` it is also written when the
    loss is not finite, from the steps before; the error goes on.
    """

    def __init__(self, ema: EMA, path: str, best: KeepBest | None = None, rescue: bool = False) -> None:
        self.ema, self.path, self.best, self.rescue = ema, Path(path), best, rescue

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self._write)
        if self.rescue:
            engine.add_event_handler(Events.EXCEPTION_RAISED, self._rescue)

    def _write(self) -> None:
        if leads():
            network = self.ema.average if self.best is None else self.best.network()
            save_weights(merged(network), self.path)

    def _rescue(self, engine: Engine, error: BaseException) -> None:
        if self.rescue and isinstance(error, ArithmeticError):
            self.rescue = False  # the engine tells of the same error twice
            self._write()
            kept = engine.state.iteration - 1 if self.best is None or self.best.value is None else self.best.step
            engine.logger.warning(f"the loss is not finite: {self.path.name} keeps the last good weights, of step {kept}")
        raise error


class EpochOf:
    """Tells a dataset which epoch it is in, so that each epoch draws other crops."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        self.dataset.epoch = engine.state.epoch

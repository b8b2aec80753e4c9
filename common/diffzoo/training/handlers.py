"""Ignite handlers of a training run: EMA, learning rate, resume, time limit, log and the final weight file."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from torch import nn

from diffzoo.diffusion.denoiser import EMA
from diffzoo.errors import InputError
from diffzoo.networks.weights import save_weights


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

    `objects` maps names to things with a state dict (network, optimizer, ema). Written beside and renamed, so a kill leaves the
    last whole one. Data, noise and learning rate are functions of the step, so nothing else needs to be kept.
    Raises InputError at the start for a checkpoint that does not fit the objects.
    """

    def __init__(self, path: str, objects: Mapping, every: int = 1, enabled: bool = True) -> None:
        self.path, self.objects, self.every, self.enabled = Path(path), dict(objects), every, enabled

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.every), self._save)

    def _load(self, engine: Engine) -> None:
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
        engine.logger.info(f"resumed from {self.path.name} at step {saved['iteration']}")

    def _save(self, engine: Engine) -> None:
        state = {name: thing.state_dict() for name, thing in self.objects.items()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        torch.save(state, beside)
        os.replace(beside, self.path)


class TimeLimit:
    """Ends the run at the first epoch end after `minutes`; 0 sets no limit. Time of an earlier, resumed part does not count."""

    def __init__(self, minutes: float = 0) -> None:
        self.minutes = minutes

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)

    def _start(self) -> None:
        self.started = time.monotonic()

    def _check(self, engine: Engine) -> None:
        if self.minutes and time.monotonic() - self.started > 60 * self.minutes:
            engine.logger.info(f"time limit of {self.minutes} minutes reached at step {engine.state.iteration}")
            engine.terminate()


class LossLog:
    """Appends one JSON line an epoch to `path`: step, mean loss, validation metric where there is one, seconds."""

    def __init__(self, path: str, evaluator: Engine | None = None, every: int = 5) -> None:
        self.path, self.evaluator, self.every = Path(path), evaluator, every

    def attach(self, engine: Engine) -> None:
        self.total, self.count = 0.0, 0
        self.started = time.monotonic() - self._earlier()
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _earlier(self) -> float:
        """Seconds of the parts of a resumed run that the log already tells of."""
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        return json.loads(lines[-1])["seconds"] if lines else 0.0

    def _add(self, engine: Engine) -> None:
        self.total, self.count = self.total + engine.state.output["loss"], self.count + 1

    def _write(self, engine: Engine) -> None:
        line = {"step": engine.state.iteration, "loss": round(self.total / max(1, self.count), 5)}
        if self.evaluator is not None and (engine.state.epoch % self.every == 0 or engine.state.epoch == engine.state.max_epochs):
            self.evaluator.run()
            line |= {name: round(value, 3) for name, value in self.evaluator.state.metrics.items()}
        line["seconds"] = round(time.monotonic() - self.started, 1)
        self.total, self.count = 0.0, 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        engine.logger.info(" ".join(f"{key} {value}" for key, value in line.items()))


class ExportWeights:
    """Writes the averaged network as fp16 safetensors when the run ends, also when it was ended by the time limit."""

    def __init__(self, ema: EMA, path: str) -> None:
        self.ema, self.path = ema, path

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, lambda: save_weights(self.ema.average, self.path))


class EpochOf:
    """Tells a dataset which epoch it is in, so that each epoch draws other crops."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        self.dataset.epoch = engine.state.epoch

"""The best average of a training run, and its early end."""

import copy
import math
from collections.abc import Mapping

from ignite.engine import Engine, Events
from torch import nn

from diffzoo.diffusion.denoiser import EMA
from diffzoo.errors import InputError

STATE = ("value", "step", "judged", "since", "weights")


class KeepBest:
    """Keeps the average of the best validation, and ends the run after `patience` validations without a better one (0: never).

    It is judged by the evaluator's key metric, or by the one named, the largest being the best unless `largest` is false. Another
    handler runs the evaluator (`LossLog`); the end of the run is validated here if it was not. `value` and `step` are those of
    the best so far, None and 0 before the first. In a checkpoint its state keeps all this, weights included. Stands before
    `ExportWeights` in the list of handlers. Raises InputError where the evaluator has no such metric.
    """

    def __init__(self, ema: EMA, evaluator: Engine, metric: str | None = None, patience: int = 0, largest: bool = True) -> None:
        self.ema, self.evaluator, self.metric, self.patience, self.largest = ema, evaluator, metric, patience, largest
        self.value, self.step, self.judged, self.since, self.weights = None, 0, -1, 0, {}

    def state_dict(self) -> dict:
        """The best value, its step and weights, the step judged last, and the number of validations since the best."""
        return {key: getattr(self, key) for key in STATE}

    def load_state_dict(self, state: Mapping) -> None:
        """Goes on from such a state."""
        self.value, self.step, self.judged, self.since, self.weights = (state[key] for key in STATE)

    def network(self) -> nn.Module:
        """The best average; the present one before the first validation."""
        best = copy.deepcopy(self.ema.average)
        if self.weights:
            best.load_state_dict(self.weights)
        return best

    def attach(self, engine: Engine) -> None:
        self.evaluator.add_event_handler(Events.COMPLETED, self._judge, engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._stop)  # of a run that is resumed after its early end
        engine.add_event_handler(Events.COMPLETED, self._judge_end)

    def _judge(self, trainer: Engine) -> None:
        metrics, name = self.evaluator.state.metrics, self.metric or getattr(self.evaluator.state, "key_metric_name", None)
        if name not in metrics:
            raise InputError(f"validation has no metric {name!r} to choose the best by; it has {', '.join(metrics) or 'none'}")
        value, sign = float(metrics[name]), 1 if self.largest else -1
        self.judged, self.since = trainer.state.iteration, self.since + 1
        if sign * value > (-math.inf if self.value is None else sign * self.value):  # never so for NaN
            self.value, self.step, self.since = value, trainer.state.iteration, 0
            self.weights = {key: tensor.detach().clone() for key, tensor in self.ema.average.state_dict().items()}
        self._stop(trainer)

    def _stop(self, trainer: Engine) -> None:
        if self.patience and self.since >= self.patience and not trainer.should_terminate:
            trainer.logger.info(f"no gain in {self.since} validations: stopped, the best was {self.value} at step {self.step}")
            trainer.terminate()

    def _judge_end(self, trainer: Engine) -> None:
        if self.judged != trainer.state.iteration:
            self.evaluator.run()

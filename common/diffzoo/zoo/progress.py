"""Tells of a short training as it goes: steps done and the time left."""

import time
from collections.abc import Callable

from ignite.engine import Engine, Events

EVERY = 15.0  # seconds between two lines


class Steps:
    """Attached to a trainer, says "step 120 of 500: loss 0.03, 40 s left" now and then; silent where less than that is left."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.say, self.clock, self.started = say, clock, None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)

    def _start(self, engine: Engine) -> None:
        if self.started is None:
            self.started = self.last = self.clock()
            self.first = engine.state.iteration - 1

    def _step(self, engine: Engine) -> None:
        now, done = self.clock(), engine.state.iteration
        total = engine.state.max_epochs * engine.state.epoch_length
        if now - self.last < EVERY or done >= total:
            return
        self.last = now
        left = (now - self.started) / (done - self.first) * (total - done)
        words = f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min"
        self.say(f"step {done} of {total}: loss {engine.state.output['loss']:.4g}, about {words} left")

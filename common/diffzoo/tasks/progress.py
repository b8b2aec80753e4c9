"""Progress of a long inference: a count of steps and slices; a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable

from torch import Tensor

from diffzoo.diffusion.march import Callback

Progress = Callable[[int, int, str], None]  # (steps done, steps in all, "slices 8 of 39" or "")
EVERY = 30.0  # seconds between two lines where there is no terminal


class Counter:
    """A sampler callback that counts steps for a progress display, which begins again with each further chain.

    slices and batch: how many slices there are and how many go together, each batch taking as many steps; 0: they are not told.
    """

    def __init__(self, progress: Progress | None, total: int, slices: int = 0, batch: int = 1) -> None:
        self.progress, self.total, self.done, self.slices, self.batch = progress, total, 0, slices, batch

    def __call__(self, i: int, sigma: float, x: Tensor, x0: Tensor) -> None:
        self.count(1)

    def of(self, chains: int) -> Callback:
        """A callback of so many chains that go together: each of its steps counts for all."""
        return lambda i, sigma, x, x0: self.count(chains)

    def count(self, steps: int) -> None:
        """Notes that so many more steps are done."""
        self.done += steps
        if self.progress is not None:
            done = (self.done - 1) % self.total + 1
            self.progress(done, self.total, self._position(done))

    def _position(self, done: int) -> str:
        if not self.slices:
            return ""
        batches = -(-self.slices // self.batch)
        return f"slices {min(done * batches // self.total * self.batch, self.slices)} of {self.slices}"


class Bar:
    """bar(done, total, told): a bar with the time left on a terminal; elsewhere a line each 30 s; closes itself at the end.

    The first line comes once a batch of slices is done (or a tenth of the steps), where more than 30 s are then left.
    """

    def __init__(self, label: str = "steps", clock: Callable[[], float] = time.monotonic) -> None:
        self.label, self.clock, self.bar, self.started, self.seen = label, clock, None, None, 0

    def __call__(self, done: int, total: int, where: str = "") -> None:
        if self.started is None or done <= self.seen:  # the first case, or the one after a case that failed
            self.started = self.last = self.clock()
            self.first, self.early = done, True
            self._close()
        self.seen = done
        if sys.stderr.isatty():
            self._draw(done, total, where)
        else:
            self._line(done, total, where)
        if done >= total:
            self.started = None

    def _draw(self, done: int, total: int, where: str) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=total, desc=self.label, file=sys.stderr, leave=False, ncols=100)
        self.bar.set_postfix_str(where, refresh=False)
        self.bar.update(done - self.bar.n)
        if done >= total:
            self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _line(self, done: int, total: int, where: str) -> None:
        now, counted = self.clock(), done - self.first
        if counted == 0:
            return  # nothing was timed yet
        left = (now - self.started) / counted * (total - done)
        begun = self.early and done < total and ((where and not where.startswith("slices 0 ")) or done >= total / 10)
        if begun:
            self.early = False
        if (begun and left > EVERY) or (done < total and now - self.last >= EVERY):
            self.last = now
            minutes = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
            words = where if where and not where.startswith("slices 0 ") else f"{self.label} {done} of {total}"
            sys.stderr.write(f"{words}, about {minutes} left\n")
            sys.stderr.flush()

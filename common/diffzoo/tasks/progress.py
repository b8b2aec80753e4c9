"""Progress of a long inference: a count of steps, and a bar on standard error."""

import sys
from collections.abc import Callable

from torch import Tensor

Progress = Callable[[int, int], None]  # (steps done, steps in all)


class Counter:
    """A sampler callback that counts steps for a progress display, which begins again with each further chain."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, i: int, sigma: float, x: Tensor, x0: Tensor) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress((self.done - 1) % self.total + 1, self.total)


class Bar:
    """bar(done, total): a bar with the time left on a terminal, nothing elsewhere; closes itself at the end."""

    def __init__(self, label: str = "steps") -> None:
        self.label, self.bar = label, None

    def __call__(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=total, desc=self.label, file=sys.stderr, leave=False, disable=None, ncols=80)
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()
            self.bar = None

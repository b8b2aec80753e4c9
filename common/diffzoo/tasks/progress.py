"""A progress bar for long inference, on standard error."""

import sys


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

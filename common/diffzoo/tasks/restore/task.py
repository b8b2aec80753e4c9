"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from diffzoo.tasks.task import Entries, Rows, Task


class Restore(Task):
    """Cleaner and finer images from noisy and coarse ones."""

    title = "MR denoising and super-resolution"
    own, trivial = ("restored",), ("input",)
    pattern = "r2d2_plus"
    training = MappingProxyType({"batch_size": 2, "learning_rate": 0.002, "ema_decay": 0.98})

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """A row an evaluation, and what the draws are worth."""
        from diffzoo.tasks.reconstruction.card import reconstruction_rows

        return reconstruction_rows(entries, recipe)

    def merged(self, results: Sequence[Mapping]) -> Mapping:
        """Means over the seeds, and the PSNR of each."""
        from diffzoo.tasks.reconstruction.table import merged

        return merged(results)

    def kept(self, summary: Mapping, cases: Sequence[Mapping]) -> dict:
        """Means, the values of each person, and the PSNR of each case."""
        from diffzoo.tasks.reconstruction.card import kept

        return kept(summary, cases)


TASK = Restore()

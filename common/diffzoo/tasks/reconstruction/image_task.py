"""What tasks share that give one image and compare it with a reference: tables, seeds, what is kept. Light: no torch here."""

from collections.abc import Mapping, Sequence

from diffzoo.tasks.task import Entries, Rows, Task


class ImageTask(Task):
    """A task whose cases are judged by `tasks.reconstruction.table`."""

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

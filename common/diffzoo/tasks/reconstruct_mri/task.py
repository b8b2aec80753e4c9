"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from diffzoo.tasks.reconstruction.misfit import misfit
from diffzoo.tasks.task import Entries, Rows, Task


class ReconstructMRI(Task):
    """MR images from undersampled k-space."""

    title = "MR reconstruction from undersampled k-space"
    own, trivial = ("recon",), ("zero_filled",)
    pattern = "score_mri"
    training = MappingProxyType({"batch_size": 2, "learning_rate": 0.002, "ema_decay": 0.98})

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also an image that does not fit the data."""
        return super().doubts(case, changed) + misfit(case)

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


TASK = ReconstructMRI()

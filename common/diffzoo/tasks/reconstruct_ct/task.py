"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from diffzoo.tasks.reconstruction.misfit import misfit
from diffzoo.tasks.task import Entries, Rows, Task


class ReconstructCT(Task):
    """CT images from a limited arc of projections."""

    title = "CT reconstruction from a limited arc"
    own, trivial = ("recon",), ("fbp",)
    sample = scan = "ct"
    simulation = "CT"
    pattern = "dolce"
    training = MappingProxyType(
        {"batch_size": 4, "sizes": [64], "items": [192], "shares": [1.0], "held_out": [4], "phantoms": 12, "phantom_share": 0.5}
        | {"learning_rate": 0.003, "ema_decay": 0.98}
    )

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


TASK = ReconstructCT()

"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping
from types import MappingProxyType

from diffzoo.tasks.reconstruction.image_task import ImageTask
from diffzoo.tasks.reconstruction.misfit import misfit


class ReconstructCT(ImageTask):
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


TASK = ReconstructCT()

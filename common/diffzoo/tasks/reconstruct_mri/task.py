"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping
from types import MappingProxyType

from diffzoo.tasks.reconstruction.image_task import ImageTask
from diffzoo.tasks.reconstruction.misfit import misfit


class ReconstructMRI(ImageTask):
    """MR images from undersampled k-space."""

    title = "MR reconstruction from undersampled k-space"
    own, trivial = ("recon",), ("zero_filled",)
    pattern = "score_mri"
    training = MappingProxyType({"batch_size": 2, "learning_rate": 0.002, "ema_decay": 0.98})

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also an image that does not fit the data."""
        return super().doubts(case, changed) + misfit(case)


TASK = ReconstructMRI()

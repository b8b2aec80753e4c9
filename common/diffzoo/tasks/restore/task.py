"""What the commands need to know of this task. Light: no torch here."""

from types import MappingProxyType

from diffzoo.tasks.reconstruction.image_task import ImageTask


class Restore(ImageTask):
    """Cleaner and finer images from noisy and coarse ones."""

    title = "denoising and super-resolution"
    own, trivial = ("restored",), ("input",)
    pattern = "r2d2_plus"
    training = MappingProxyType({"batch_size": 2, "learning_rate": 0.002, "ema_decay": 0.98})


TASK = Restore()

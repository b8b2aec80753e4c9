"""Zero-shot translation to CT: high frequencies of the source guide, its mildly noised copy starts (FGDM, Li et al. 2024)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.edges import TOP
from diffzoo.imaging.guide import Guide
from diffzoo.tasks.progress import Progress
from diffzoo.tasks.translate.inferer import Draw, Slices, Translate

STARTS = ("source", "noise")


class FrequencyGuided(Translate):
    """`Translate` of a single source "cbct" to "ct", both in model units of CT, by a network that knows target images alone.

    The high frequencies of a slice reach the network as its `guide` (`imaging.guide`), the low ones through the start, the source
    with noise of the first level of `sigmas`, of which the short schedule (`diffusion.short_schedule`) hides none; with start
    "noise" the guide is all that is known. Each slice has noise of its own. given, wanted, inside and position are those of every
    translation, and nothing here depends on them: beyond the body too the result is what was drawn, in [0, 1.5]. Raises
    ValueError for another start, or samples or slice_batch below 1.
    """

    def __init__(
        self,
        precond: Precond,
        sampler: Callable[..., Tensor],
        sigmas: Sequence[float],
        guide: Guide,
        start: str = "source",
        samples: int = 1,
        seed: int = 0,
        slice_batch: int = 8,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        more = {"seed": seed, "slice_batch": slice_batch, "autocast": autocast, "progress": progress}
        super().__init__(precond, sampler, sigmas, ("cbct",), ("ct",), samples, shared_noise=False, **more)
        if start not in STARTS:
            raise ValueError(f"a translation starts from {' or '.join(STARTS)}, not {start!r}")
        self.guide, self.start = guide, start

    def drawer(self, denoiser: Denoiser, batch: Slices) -> Draw:
        """What draws the CT of slices, told their guide, in [0, 1.5]."""
        denoise, first = denoiser.bind(concat=self.guide(batch.image)), batch.image
        first = first if self.start == "source" else torch.zeros_like(first)

        def draw(seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
            noise = Gaussian(seeds)
            x = first + self.sigmas[0] * noise(first)
            image = self.sampler(lambda y, s: denoise(y, s).clamp(0, TOP), x, self.sigmas, noise=noise, callback=callback)
            return image.clamp(0, TOP)

        return draw

"""One map from several ways of hiding an anomaly: what all of them would change counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Noise, stream
from diffzoo.tasks.anomaly.inferer import FindAnomalies
from diffzoo.tasks.edit import Edit, levels


@dataclass(frozen=True)
class JointEdit:
    """edit(denoise, x [B, 1, *S], seeds, callback) -> the result of each of E edits, [B, E, *S], with noise of its own.

    Without any edit x comes back.
    """

    edits: Sequence[Edit]

    @property
    def steps(self) -> int:
        """Network calls of all."""
        return sum(edit.steps for edit in self.edits)

    def __call__(self, denoise: Denoise, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        parts = [edit(denoise, x, [stream(seed, k) for seed in seeds], callback) for k, edit in enumerate(self.edits)]
        return torch.cat(parts, 1) if parts else x.clone()


def at_levels(sampler: Callable[..., Tensor], top: float, scales: int, steps: int, noise: Noise) -> list[Edit]:
    """Edits of `steps` steps with one kind of noise, at the level `top`, half of it, and so on: `scales` of them; none for 0.

    Raises ValueError for fewer than one.
    """
    if scales < 1:
        raise ValueError(f"the number of levels is at least 1, not {scales}")
    return [Edit(sampler, levels(top / 2**k, steps), noise) for k in range(scales if top else 0)]


class FindJointly(FindAnomalies):
    """`FindAnomalies` with a `JointEdit`: healthy is the mean of what its edits give, the score the geometric mean of theirs.

    So the map is low wherever one of the edits would leave the image as it is.
    """

    def judged(self, image: Tensor, healthy: Tensor, inside: Tensor) -> Tensor:
        """Healthy version and score [2, H, W, D], from the results of all edits, healthy [E, H, W, D]."""
        scores = torch.cat([self.score(image, part, inside) for part in healthy.split(1)])
        joint = scores.clamp(min=0).log().mean(0, keepdim=True).exp()  # 0 where one of them is 0
        return torch.cat([healthy.mean(0, keepdim=True), joint])

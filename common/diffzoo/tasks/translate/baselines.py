"""What a translation has to beat, from the same images: a network that regresses, a linear regression, the nearest image."""

from collections.abc import Mapping, Sequence

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor, nn

from diffzoo.imaging.geometry import plain
from diffzoo.tasks.translate.conditions import conditions, expand_channels
from diffzoo.tasks.translate.inferer import TOP
from diffzoo.tasks.translate.moments import load_moments, predict
from diffzoo.tasks.translate.step import regress

BATCH = 16  # slices


class AddRegression(Transform):
    """Adds "regression" [T, H, W, D]: what a network trained with the mean absolute error makes in one call, in model units."""

    def __init__(self, network: nn.Module, targets: Sequence[str]) -> None:
        self.network, self.targets = network, tuple(targets)

    @torch.no_grad()
    def __call__(self, data: Mapping) -> dict:
        network, (known, inside, wanted) = self.network.cpu().eval(), _conditions(data)
        parts = [
            regress(network, len(self.targets), **{k: v[rows] for k, v in known.items()})
            for rows in (slice(k, k + BATCH) for k in range(0, len(inside), BATCH))
        ]
        images = torch.cat(parts).clamp(0, TOP) * inside * expand_channels(wanted, inside)
        return dict(data) | {"regression": MetaTensor(images.movedim(0, -1), affine=data["image"].affine)}


class AddLinear(Transform):
    """Adds "linear" and "copy" [T, H, W, D]: the linear regression of the intensities, and the nearest given image, rescaled.

    Both by the moments of the training list (`moments.save_moments`), whose roles are the sources, then further targets.
    """

    def __init__(self, path: str, sources: Sequence[str], targets: Sequence[str]) -> None:
        self.table, self.sources, self.targets = load_moments(path), tuple(sources), tuple(targets)
        self.roles = list(dict.fromkeys((*sources, *targets)))

    def __call__(self, data: Mapping) -> dict:
        image, inside = plain(data["image"]).cpu(), plain(data["inside"]).cpu().float()
        given = [k for k, flag in enumerate(plain(data["given"]).flatten().tolist()) if flag]
        images = {self.roles.index(self.sources[k]): image[k] for k in given}
        out = dict(data)
        for key, copy in (("linear", False), ("copy", True)):
            predicted = [predict(self.table, images, self.roles.index(t), copy) for t in self.targets]
            out[key] = MetaTensor(torch.stack(predicted).clamp(0, TOP) * inside, affine=data["image"].affine)
        return out


def _conditions(data: Mapping) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Conditions of all slices of an item, its mask [D, 1, H, W], and what is wanted [D, T]."""
    image, inside = (plain(data[key]).cpu().float().movedim(-1, 0) for key in ("image", "inside"))
    given, wanted = (plain(data[key]).cpu().float().reshape(1, -1).expand(len(image), -1) for key in ("given", "wanted"))
    return conditions(image, given, wanted, inside, plain(data["position"]).cpu().float()), inside, wanted

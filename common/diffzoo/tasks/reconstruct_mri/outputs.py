"""What a reconstruction leaves: the network's answer as named volumes in the units and the geometry of the input."""

from collections.abc import Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor, nn

from diffzoo.imaging.geometry import plain
from diffzoo.operators.fourier import uncentre
from diffzoo.tasks.reconstruct_mri.supervised import unaliased
from diffzoo.tasks.reconstruction.baselines import total_variation
from diffzoo.tasks.reconstruction.measured import forward_model, kspace_of, zero_filled


class NameOutputs(Transform):
    """Splits "pred" [1 or 2, H, W, D] into "recon" and "std" and adds "zero_filled", all times "scale"."""

    def __call__(self, data: Mapping) -> dict:
        image, y, mask = _measurement(data)
        parts = dict(zip(("recon", "std"), data["pred"].split(1), strict=False))
        parts["zero_filled"] = plain(image) if len(image) == 1 else zero_filled(y, mask).movedim(0, -1)  # with its symmetry
        return dict(data) | {name: _like(image, part * float(data["scale"])) for name, part in parts.items()}


class AddTotalVariation(Transform):
    """Adds "total_variation", the classical reconstruction from the same data, times "scale"; weight None leaves it out."""

    def __init__(self, weight: float | None) -> None:
        self.weight = weight

    def __call__(self, data: Mapping) -> dict:
        if self.weight is None:
            return dict(data)
        image, y, mask = _measurement(data)
        op = forward_model(y, mask, real=len(image) == 1)
        x = op.magnitude(total_variation(op, y, self.weight))
        return dict(data) | {"total_variation": _like(image, x.movedim(0, -1) * float(data["scale"]))}


class AddSupervised(Transform):
    """Adds "supervised", what a supervised network makes of the adjoint A^T y of complex data, times "scale"."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def __call__(self, data: Mapping) -> dict:
        image, y, mask = _measurement(data)
        if len(image) == 1:
            raise ValueError("the supervised network takes complex images: this case has a real one")
        network, slices = self.network.cpu(), []
        for item in y.split(1):
            op = forward_model(item, mask, real=False)
            slices.append(op.magnitude(unaliased(network, op.AT(item))))
        volume = torch.cat(slices).movedim(0, -1) * float(data["scale"])
        return dict(data) | {"supervised": _like(image, volume)}


def _measurement(data: Mapping) -> tuple[MetaTensor, Tensor, Tensor]:
    """The case's image, its k-space [D, 2 C, H, W] and its un-centred mask [1, 1, H, W], on the CPU."""
    image = data["image"].cpu()
    mask = uncentre(plain(data["mask"]).cpu())[None]
    return image, kspace_of(plain(image).movedim(-1, 0), mask), mask


def _like(image: MetaTensor, volume: Tensor) -> MetaTensor:
    """volume [1, H, W, D] with the affine of `image`."""
    return MetaTensor(plain(volume).cpu(), affine=image.affine)

"""What a zero-shot translation to CT has to beat without pairs: the source itself, its histogram matched, and the best line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.body_mask import body_mask
from diffzoo.imaging.edges import TOP, to_hu
from diffzoo.imaging.geometry import plain

COUNT = 512  # quantiles that are kept


def quantiles_of(values: Tensor, count: int = COUNT) -> Tensor:
    """`count` evenly spaced quantiles [count] of values (any shape), from the least to the largest, float64."""
    ordered = values.flatten().double().sort().values
    places = torch.linspace(0, len(ordered) - 1, count, dtype=torch.float64)
    low = places.floor().long()
    return torch.lerp(ordered[low], ordered[(low + 1).clamp(max=len(ordered) - 1)], places - low)


def matched(x: Tensor, inside: Tensor, quantiles: Tensor) -> Tensor:
    """x (any shape, model units), the histogram of its values `inside` made that of `quantiles` [Q]; beyond, as it is."""
    own = quantiles_of(x[inside], len(quantiles))
    values = np.interp(x.double().numpy(), own.numpy(), quantiles.double().numpy())
    return torch.where(inside, torch.from_numpy(values).to(x), x).clamp(0, TOP)


def best_line(x: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """x by the line that comes nearest to the truth inside, in the least squares: a calibration that nobody has beforehand."""
    a, b = x[inside].double(), truth[inside].double()
    centred = a - a.mean()
    slope = (centred * b).sum() / centred.square().sum().clamp(min=1e-12)
    return (b.mean() + slope * (x.double() - a.mean())).to(x).clamp(0, TOP)


def training_quantiles(stacks: Sequence[Tensor], weights: Tensor, grid_mm: float) -> Tensor:
    """Quantiles of the bodies in stacks of CT slices [N, H, W] in model units, each stack by its weight."""
    samples, total = [], 20_000
    for stack, weight in zip(stacks, weights.tolist(), strict=True):
        try:
            body = body_mask(to_hu(stack.float()).movedim(0, -1).numpy(), (grid_mm,) * 3)
        except InputError:
            continue  # a stack of air
        values = stack.float().movedim(0, -1)[torch.from_numpy(body)]
        samples.append(quantiles_of(values, max(2, round(total * weight))))
    return quantiles_of(torch.cat(samples))


def save_quantiles(table: Tensor, path: str | Path) -> None:
    """Writes the quantiles as safetensors, in half precision, which is finer than 2 HU."""
    save_file({"quantiles": table.half().contiguous()}, path, metadata={"format": "pt"})


class AddCalibrations(Transform):
    """Adds "source", "matched" and, where the truth is known, "best_line" [1, H, W, D] in model units.

    The source as it is, with the histogram of its body matched to that of the training CT (`save_quantiles`), and by its best
    line (`best_line`).
    """

    def __init__(self, path: str) -> None:
        self.quantiles = load_file(path)["quantiles"].double()

    def __call__(self, data: Mapping) -> dict:
        image, truth, inside = (plain(data[key]).cpu() for key in ("image", "truth", "inside"))
        image, inside = image.float(), inside.bool()
        volumes = {"source": image, "matched": matched(image, inside, self.quantiles)}
        if bool(plain(data["known"]).any()):
            volumes["best_line"] = best_line(image, truth.float(), inside)
        return dict(data) | {key: MetaTensor(value, affine=data["image"].affine) for key, value in volumes.items()}

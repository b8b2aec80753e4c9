"""Second moments of the intensities of a training list, from which any linear baseline follows: regression, the nearest image."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

RIDGE = 1e-4  # of the variance of white matter in T1: two contrasts that tell the same give one answer


def moments(values: Tensor, known: Tensor) -> Tensor:
    """Mean products [R + 1, R + 1] of intensities [N, R] and a constant, each pair over the rows that know both; known [N, R]."""
    ones = torch.ones(len(values), 1, dtype=torch.float64)
    x, here = torch.cat([ones, values.double()], 1), torch.cat([ones, known.double()], 1)
    x = x * here
    return (x.mT @ x) / (here.mT @ here).clamp(min=1)


def of_slices(slices: Tensor, known: Tensor) -> Tensor:
    """`moments` of slices [N, R + 1, H, W], the last channel the mask of what counts; known [N, R]."""
    rows, roles = [], slices.shape[1] - 1
    for stack, flags in zip(slices.float(), known, strict=True):
        inside = stack[-1] > 0.5
        rows.append((stack[:-1, inside].mT, flags.expand(int(inside.sum()), roles)))
    return moments(torch.cat([v for v, _ in rows]), torch.cat([f for _, f in rows]))


def of_batches(batches: Iterable[Mapping[str, Tensor]]) -> Tensor:
    """`moments` of training batches: the sources of "concat" (of which "vector" tells the given ones), then targets "image"."""
    stacks, known = [], []
    for batch in batches:
        concat, target = batch["concat"], batch["image"]
        sources = concat.shape[1] // 2
        stacks.append(torch.cat([concat[:, :sources], target, concat[:, -1:]], 1))
        known.append(torch.cat([batch["vector"][:, :sources], torch.ones(target.shape[:2])], 1))
    return of_slices(torch.cat(stacks), torch.cat(known))


def save_moments(table: Tensor, path: str | Path) -> None:
    """Writes the table as safetensors in half precision: mean, standard deviation and correlation, which keep its digits."""
    mean, covariance = table[0, 1:], table[1:, 1:] - table[0, 1:, None] * table[0, 1:]
    sd = covariance.diagonal().clamp(min=1e-12).sqrt()
    parts = {"mean": mean, "sd": sd, "correlation": covariance / (sd[:, None] * sd)}
    save_file({key: value.half().contiguous() for key, value in parts.items()}, path, metadata={"format": "pt"})


def load_moments(path: str | Path) -> Tensor:
    """A table that `save_moments` wrote, [R + 1, R + 1] float64."""
    mean, sd, correlation = (load_file(path)[key].double() for key in ("mean", "sd", "correlation"))
    first = torch.cat([torch.ones(1, dtype=torch.float64), mean])
    table = first[:, None] * first
    table[1:, 1:] += correlation * sd[:, None] * sd
    return table


def regression(table: Tensor, given: Sequence[int], target: int) -> Tensor:
    """Weights [1 + len(given)] of a constant and of the given roles that make the target with the least squared error."""
    rows = torch.tensor([0, *(1 + g for g in given)])
    matrix = table[rows][:, rows] + RIDGE * torch.diag(torch.tensor([0.0, *[1.0] * len(given)], dtype=table.dtype))
    return torch.linalg.solve(matrix, table[rows, 1 + target])


def nearest(table: Tensor, given: Sequence[int], target: int) -> tuple[int, float, float]:
    """The given role that correlates best with a target, and the scale and shift that give it the target's mean and spread."""
    mean = table[0, 1:]
    covariance = table[1:, 1:] - mean[:, None] * mean
    sd = covariance.diagonal().clamp(min=1e-12).sqrt()
    correlation = covariance[target] / (sd * sd[target])
    best = max(given, key=lambda g: abs(float(correlation[g])))
    scale = float(sd[target] / sd[best]) * (1.0 if correlation[best] >= 0 else -1.0)
    return best, scale, float(mean[target] - scale * mean[best])


def predict(table: Tensor, images: Mapping[int, Tensor], target: int, copy: bool = False) -> Tensor:
    """A target from images by role number: their linear regression, or with `copy` the nearest one, rescaled."""
    if copy:
        best, scale, shift = nearest(table, list(images), target)
        return (scale * images[best] + shift).clamp(min=0)
    weights = regression(table, list(images), target)
    return (weights[0] + sum(w * x for w, x in zip(weights[1:], images.values(), strict=True))).clamp(min=0).float()

"""How well two label maps agree."""

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from monai.networks.utils import one_hot
from torch import Tensor


def label_scores(labels: Tensor, truth: Tensor, spacing: tuple[float, ...]) -> dict[str, float]:
    """Mean Dice and mean 95 % Hausdorff distance (in units of `spacing`) over the labels above 0 of maps [1, 1, *S].

    A label that one of the maps lacks counts as a Dice of 0; its distance is not defined and left out. Both are NaN where neither
    map has a label.
    """
    classes = int(max(labels.max(), truth.max(), 1)) + 1
    pair = [one_hot(x.float(), classes) for x in (labels, truth)]
    present = ((pair[0] + pair[1]).flatten(2).amax(2) > 0)[0, 1:]
    if not present.any():
        return {"dice": float("nan"), "hd95": float("nan")}
    shared = torch.stack([x.flatten(2).amax(2)[0, 1:] > 0 for x in pair]).all(0)
    dice = compute_dice(*pair, include_background=False, ignore_empty=False)[0][present]
    pair = [x[:, 1:][:, shared] for x in pair]
    far = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing) if shared.any() else None
    return {"dice": float(dice.mean()), "hd95": float("nan") if far is None else float(np.mean(far.numpy()))}

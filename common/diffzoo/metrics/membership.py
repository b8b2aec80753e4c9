"""Whether a denoiser knows the images it was trained on: membership inference from its loss."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser, expand_as
from diffzoo.diffusion.noise import NoiseDraw, stream, white
from diffzoo.errors import InputError

SIGMAS = (0.1, 0.2, 0.4, 0.8)
FALSE = 0.01  # rate at which the true positive rate is told


@torch.no_grad()
def scores(
    denoiser: Denoiser,
    images: Tensor,
    conditions: Mapping[str, Tensor] | None = None,
    sigmas: Sequence[float] = SIGMAS,
    draws: int = 4,
    seed: int = 0,
    noise: NoiseDraw | None = None,
    batch: int = 32,
) -> np.ndarray:
    """Mean of |noise - its estimate|^2 over pixels, noise levels and draws, [B], of images [B, C, *S]: lower for a member.

    The error of x0 over sigma is that of the noise, so every level counts alike (Carlini et al. 2023, sec. 5). Every image
    meets the same noise, which takes its share out of the comparison. Network and images on one device. Raises ValueError for a
    sigma that is not positive.
    """
    if not sigmas or not all(sigma > 0 for sigma in sigmas) or draws < 1:
        raise ValueError(f"membership needs positive noise levels and a draw or more, not {list(sigmas)} and {draws}")
    denoiser.eval()
    given, values = dict(conditions or {}), torch.zeros(len(images), dtype=torch.float64)
    for level, sigma in enumerate(sigmas):
        for draw in range(draws):
            generator = torch.Generator().manual_seed(stream(seed, level, draw))
            field = (noise or white)(images[:1].cpu(), generator).to(images)
            for start in range(0, len(images), batch):
                at = slice(start, start + batch)
                levels = torch.full((len(images[at]),), float(sigma), dtype=images.dtype, device=images.device)
                noisy = images[at] + expand_as(levels, images) * field
                error = (denoiser(noisy, levels, **{k: v[at] for k, v in given.items()}) - images[at]) / sigma
                values[at] += error.double().pow(2).flatten(1).mean(1).cpu()
    return values.numpy() / (len(sigmas) * draws)


def attack(members: np.ndarray, others: np.ndarray) -> dict[str, float | int | list[float]]:
    """How well scores tell members [N] (lower) from others [M]: "auc" with its 95 % interval, "tpr" at 1 % false positives.

    The interval is that of Hanley and McNeil (1982) and takes images as independent. tpr: the share of members under the score
    that at most 1 % of the others reach. With scores of a reference model taken off both, this is the likelihood-ratio attack.
    Raises InputError for an empty or unfinite set.
    """
    low, high = (np.asarray(values, np.float64) for values in (members, others))
    n, m = len(low), len(high)
    if not n or not m or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError(f"membership needs finite scores of members and of others, not {n} and {m}")
    ranks = rankdata(np.concatenate([low, high]))
    auc = float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))
    allowed = math.floor(FALSE * m)
    tpr = float((low < np.sort(high)[allowed]).mean())
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    reach = 1.96 * math.sqrt(max(auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2), 0) / (n * m))
    return {"auc": auc, "interval": [max(0.0, auc - reach), min(1.0, auc + reach)], "tpr": tpr, "members": n, "others": m}

"""T2 and FLAIR contrast simulated from a T1 of a healthy brain, for training where few real ones exist.

A voxel of T1 intensity v (in units of `imaging.heads.LoadHead`) shows what its tissue would: a curve through fluid, grey and
white matter. The knots were set by hand after a training patient's T1, T2 and FLAIR; between them partial volumes lie on a line.
"""

import torch
from torch import Tensor

from diffzoo.imaging.heads import MODALITIES, TOP

T1 = (0.0, 0.06, 0.22, 0.58, 0.84, 2.0)  # nothing, rim and vessels, fluid, grey matter, white matter, the cut
CURVES = {
    "t1": T1,
    "t2": (0.0, 0.45, 1.05, 0.49, 0.355, 0.25),
    "flair": (0.0, 0.25, 0.25, 0.82, 0.71, 0.60),
}
SPREAD = 0.08  # of a knot, relative, from one draw to the next


def shown_as(image: Tensor, vector: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """T1 slices image [B, 1, H, W] in the contrast that vector [B, 3] (one-hot, as MODALITIES) names; 0 stays 0, the top is 2.

    With a generator each item draws its own knots: other sequences, other scanners.
    """
    tables = torch.tensor([CURVES[name] for name in MODALITIES])
    values = vector.to(tables) @ tables  # [B, knots]
    if generator is not None:
        values = values * (1 + SPREAD * torch.randn(values.shape, generator=generator))
    knots = torch.tensor(T1)
    x = image.clamp(0, TOP)
    high = torch.bucketize(x.contiguous(), knots, right=True).clamp(1, len(knots) - 1)
    low = high - 1
    share = (x - knots[low]) / (knots[high] - knots[low])
    rows = torch.arange(len(x)).reshape(-1, 1, 1, 1)
    return (values[rows, low] + share * (values[rows, high] - values[rows, low])).clamp(0, TOP)

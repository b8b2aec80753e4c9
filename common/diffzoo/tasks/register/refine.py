"""A field made better for its own pair by descent on the registration loss: instance optimisation."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.fields import compose, integrate, roughness, warp

Similarity = Callable[[Tensor, Tensor], Tensor]  # (warped, fixed) -> loss, less is more alike
RATE = 0.1  # of Adam, voxels a step


def refinement(
    field: Tensor,
    moving: Tensor,
    fixed: Tensor,
    similarity: Similarity,
    steps: int,
    smoothness: float = 1.0,
    knots: int = 2,
) -> Tensor:
    """The velocity w [B, d, *S] that makes a field better: compose(field, integrate(w)) moves the pair closer.

    field [B, d, *S]; moving and fixed [B, 1, *S] in [0, 1]. `steps` of Adam on similarity + smoothness |grad u|^2 of this very
    pair (Balakrishnan et al. 2019, sec. V-E), w living on every `knots`-th voxel: a field that does not fold stays one.
    Deterministic; no step gives 0.
    """
    size, mode = field.shape[2:], "trilinear" if field.ndim == 5 else "bilinear"
    coarse = field.new_zeros(*field.shape[:2], *(-(-n // knots) for n in size)).requires_grad_()
    optimizer = torch.optim.Adam([coarse], lr=RATE)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            refined = compose(field, integrate(F.interpolate(coarse, size, mode=mode, align_corners=True)))
            loss = similarity(warp(moving, refined), fixed) + smoothness * roughness(refined).mean()
            loss.backward()
            optimizer.step()
    return F.interpolate(coarse.detach(), size, mode=mode, align_corners=True)

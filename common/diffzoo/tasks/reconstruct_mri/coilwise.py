"""Coils reconstructed one by one, with SENSE steps between them: SSOS and hybrid of Chung & Ye 2022 (Alg. 4 and 5)."""

from dataclasses import replace

import torch
from torch import Tensor

from diffzoo.diffusion.march import Project
from diffzoo.operators.base import LinearOperator
from diffzoo.operators.coils import combine, estimate_maps
from diffzoo.operators.fourier import SenseFourier, complex_of, pairs_of
from diffzoo.tasks.reconstruction.solver import Solver


def fold_coils(x: Tensor) -> Tensor:
    """[B, 2 C, H, W] -> [B C, 2, H, W]."""
    return x.reshape(-1, 2, *x.shape[2:])


def unfold_coils(x: Tensor, coils: int) -> Tensor:
    """The inverse of `fold_coils`."""
    return x.reshape(-1, 2 * coils, *x.shape[2:])


def hybrid(
    solver: Solver, y: Tensor, mask: Tensor, op: SenseFourier, every: int = 50, first: float = 1.0, last: float = 0.2
) -> Solver:
    """The solver with a SENSE step on the coil images after every `every`-th update, and at least thrice in a run.

    y [B, 2 C, H, W], mask [1, 1, H, W] un-centred, op: the phase of each coil, on folded coils. The step makes all coils agree on
    one image: combine, x + lam A^H (y - A x) with A = M F S, and multiply by S again. lam falls from `first` to `last` over the
    grid; maps come from the calibration lines. (The released code multiplies coil images by S and estimates S on full data.)
    """
    maps = estimate_maps(y, mask)
    sense, coils = SenseFourier(mask, maps), y.shape[1] // 2
    steps = len(solver.sigmas) - 1
    every = max(1, min(every, steps // 4))

    def constraint(folded: LinearOperator, data: Tensor) -> Project:
        keep = solver.constraint(folded, data) if solver.constraint else None
        updates = 0

        def project(x: Tensor, sigma: float) -> Tensor:
            nonlocal updates
            x = keep(x, sigma) if keep else x
            updates += 1
            if updates % every == 0 and sigma > 0:  # after the last one the data could not be met again
                lam = first + (last - first) * min(1.0, updates / (2 * steps))
                x = _agree(x, lam)
                x = keep(x, sigma) if keep else x
            return x

        return project

    def _agree(x: Tensor, lam: float) -> Tensor:
        phase = torch.view_as_complex(op.maps)
        images = unfold_coils(pairs_of(complex_of(x) * phase), coils)
        combined = combine(images, maps)
        combined = combined + lam * sense.AT(y - sense.A(combined))
        images = pairs_of(complex_of(maps) * complex_of(combined))
        return pairs_of(complex_of(fold_coils(images)) * phase.conj())

    return replace(solver, constraint=constraint)

"""An inverse problem solved with a diffusion prior: sampler, grid and data rule as one value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise
from diffzoo.diffusion.march import Callback, Project
from diffzoo.diffusion.noise import NoiseSource, noised
from diffzoo.operators.base import LinearOperator

Rule = Callable[[Denoise, LinearOperator, Tensor], Denoise]  # as in diffusion.posterior, options bound
Constraint = Callable[[LinearOperator, Tensor], Project]  # as `posterior.pocs`, options bound


@dataclass(frozen=True)
class Solver:
    """solver(denoise, op, y, noise, callback) -> x [B, C, *S].

    The start is the minimum-norm solution A^+ y, with noise of level sigmas[0] on it where `start` is "noise" and without where
    it is "data". `rule` wraps the denoiser, `constraint` acts on the state after every update.
    """

    sampler: Callable[..., Tensor]
    sigmas: Sequence[float]
    rule: Rule | None = None
    constraint: Constraint | None = None
    start: str = "noise"

    def __post_init__(self) -> None:
        if self.start not in ("noise", "data"):
            raise ValueError(f"start must be 'noise' or 'data', not {self.start!r}")

    def __call__(
        self, denoise: Denoise, op: LinearOperator, y: Tensor, noise: NoiseSource, callback: Callback | None = None
    ) -> Tensor:
        x = op.pinv(y)
        if self.start == "noise":
            x = noised(x, self.sigmas[0], noise)
        project = self.constraint(op, y) if self.constraint else None
        if project is not None:
            x = project(x, self.sigmas[0])
        guided = self.rule(denoise, op, y) if self.rule else denoise
        return self.sampler(guided, x, self.sigmas, noise=noise, project=project, callback=callback)

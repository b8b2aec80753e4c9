"""Undersampled k-space as an inverse problem: one coil or several, with a prior of magnitude or of complex images."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.imaging.geometry import plain
from diffzoo.operators.coils import low_resolution, root_sum_of_squares
from diffzoo.operators.fourier import SenseFourier, uncentre
from diffzoo.spaces import boxed, channelwise, equivariant
from diffzoo.tasks.reconstruct_mri.coilwise import fold_coils, hybrid, unfold_coils
from diffzoo.tasks.reconstruction.inferer import Posed
from diffzoo.tasks.reconstruction.measured import forward_model, kspace_of
from diffzoo.tasks.reconstruction.solver import Solver


class KSpace:
    """Poses zero-filled slices [D, K, H, W] (K = 1 real or 2 x coils, Re and Im) with data "mask" [1, 1, H, W], centred.

    `coils` says how several coils are treated: "sense", "ssos" (each for itself, root sum of squares at the end) or "hybrid"
    (ssos with SENSE steps between). With SENSE the data residual includes what the estimated coil maps cannot explain.
    `turned`: each call of the network sees the slice flipped, transposed or shifted at random (`spaces.equivariant`).
    `background`: the network sees of each slice only the box where the image of the calibration lines exceeds this share of its
    maximum, and a margin (`spaces.boxed`); 0 = the whole slice. `prior`: "magnitude", a network of one channel that sees real and
    imaginary parts each by itself, or "complex", one of both together. Raises ValueError for a share outside [0, 1), and for
    a real image with a complex prior.
    """

    conditions = ("mask",)  # items of a case that it takes beside the image

    def __init__(self, coils: str = "sense", turned: bool = False, background: float = 0.0, prior: str = "magnitude") -> None:
        if prior not in ("magnitude", "complex"):
            raise ValueError(f"prior must be 'magnitude' or 'complex', not {prior!r}")
        if coils not in ("sense", "ssos", "hybrid"):
            raise ValueError(f"coils must be 'sense', 'ssos' or 'hybrid', not {coils!r}")
        if not 0 <= background < 1:
            raise ValueError(f"the share of the maximum below which there is background lies in [0, 1), not at {background}")
        self.coils, self.turned, self.background, self.complex_prior = coils, turned, background, prior == "complex"

    def memory(self, shape: Sequence[int]) -> float:
        """Nothing to speak of: a mask."""
        return 0.0

    def __call__(self, denoiser: Denoiser, image: Tensor, rows: Sequence[int], data: Mapping[str, Tensor]) -> Posed:
        image, mask = image[rows], uncentre(plain(data["mask"])).to(image.device)
        real, y, plainly = image.shape[1] == 1, kspace_of(image, mask), denoiser.bind()
        if real and self.complex_prior:
            raise ValueError("a complex prior needs complex images: let SimulateCoils come before Undersample")
        plainly = plainly if self.complex_prior else channelwise(plainly)

        extent = self.extent(y, mask) if self.background else None

        def seen() -> Denoise:
            return equivariant(plainly) if self.turned else plainly

        def prior(coils: int = 1) -> Denoise:  # for each solution anew, so that it depends on no other
            return seen() if extent is None else boxed(seen, extent.repeat_interleave(coils, 0))

        if not real and y.shape[1] > 2 and self.coils != "sense":
            return self._coil_by_coil(prior, y, mask)
        op = forward_model(y, mask, real)

        def solve(solver: Solver, seeds: Sequence[int], callback: Callback | None) -> Tensor:
            return solver(prior(), op, y, Gaussian(seeds), callback)

        return Posed(y, op.A, solve, op.magnitude)

    def extent(self, y: Tensor, mask: Tensor) -> Tensor:
        """Where there is something to see, bool [B, 1, H, W], by the calibration lines of k-space y [B, 2 coils, H, W].

        Everywhere, where too few lines are measured about the centre to tell.
        """
        try:
            low = root_sum_of_squares(low_resolution(y, mask))
        except ValueError:
            return torch.ones_like(y[:, :1], dtype=torch.bool)
        return low > self.background * low.flatten(1).amax(1).view(-1, 1, 1, 1)

    def _coil_by_coil(self, prior: Callable[[int], Denoise], y: Tensor, mask: Tensor) -> Posed:
        coils, folded = y.shape[1] // 2, fold_coils(y)
        op: SenseFourier = forward_model(folded, mask, real=False)

        def solve(solver: Solver, seeds: Sequence[int], callback: Callback | None) -> Tensor:
            noise = Gaussian([stream(seed, c) for seed in seeds for c in range(coils)])
            chosen = hybrid(solver, y, mask, op) if self.coils == "hybrid" else solver
            return unfold_coils(chosen(prior(coils), op, folded, noise, callback), coils)

        return Posed(y, lambda x: unfold_coils(op.A(fold_coils(x)), coils), solve, root_sum_of_squares)

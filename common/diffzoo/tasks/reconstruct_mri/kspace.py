"""Undersampled k-space as an inverse problem: one coil or several, with a prior of magnitude images."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from diffzoo.diffusion.denoiser import Denoise, Denoiser
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian, stream
from diffzoo.imaging.geometry import plain
from diffzoo.operators.coils import root_sum_of_squares
from diffzoo.operators.fourier import SenseFourier, uncentre
from diffzoo.spaces import channelwise, equivariant
from diffzoo.tasks.reconstruct_mri.coilwise import fold_coils, hybrid, unfold_coils
from diffzoo.tasks.reconstruction.inferer import Posed
from diffzoo.tasks.reconstruction.measured import forward_model, kspace_of
from diffzoo.tasks.reconstruction.solver import Solver


class KSpace:
    """Poses zero-filled slices [D, K, H, W] (K = 1 real or 2 x coils, Re and Im) with data "mask" [1, 1, H, W], centred.

    `coils` says how several coils are treated: "sense", "ssos" (each for itself, root sum of squares at the end) or "hybrid"
    (ssos with SENSE steps between). With SENSE the data residual includes what the estimated coil maps cannot explain.
    `turned`: each call of the network sees the slice flipped, transposed or shifted at random (`spaces.equivariant`).
    """

    conditions = ("mask",)  # items of a case that it takes beside the image

    def __init__(self, coils: str = "sense", turned: bool = False) -> None:
        if coils not in ("sense", "ssos", "hybrid"):
            raise ValueError(f"coils must be 'sense', 'ssos' or 'hybrid', not {coils!r}")
        self.coils, self.turned = coils, turned

    def memory(self, shape: Sequence[int]) -> float:
        """Nothing to speak of: a mask."""
        return 0.0

    def __call__(self, denoiser: Denoiser, image: Tensor, rows: Sequence[int], data: Mapping[str, Tensor]) -> Posed:
        image, mask = image[rows], uncentre(plain(data["mask"])).to(image.device)
        real, y, plainly = image.shape[1] == 1, kspace_of(image, mask), channelwise(denoiser.bind())

        def prior() -> Denoise:  # for each solution anew, so that it depends on no other
            return equivariant(plainly) if self.turned else plainly

        if not real and y.shape[1] > 2 and self.coils != "sense":
            return self._coil_by_coil(prior, y, mask)
        op = forward_model(y, mask, real)

        def solve(solver: Solver, seeds: Sequence[int], callback: Callback | None) -> Tensor:
            return solver(prior(), op, y, Gaussian(seeds), callback)

        return Posed(y, op.A, solve, op.magnitude)

    def _coil_by_coil(self, prior: Callable[[], Denoise], y: Tensor, mask: Tensor) -> Posed:
        coils, folded = y.shape[1] // 2, fold_coils(y)
        op: SenseFourier = forward_model(folded, mask, real=False)

        def solve(solver: Solver, seeds: Sequence[int], callback: Callback | None) -> Tensor:
            noise = Gaussian([stream(seed, c) for seed in seeds for c in range(coils)])
            chosen = hybrid(solver, y, mask, op) if self.coils == "hybrid" else solver
            return unfold_coils(chosen(prior(), op, folded, noise, callback), coils)

        return Posed(y, lambda x: unfold_coils(op.A(fold_coils(x)), coils), solve, root_sum_of_squares)

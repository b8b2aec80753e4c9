"""A limited-angle sinogram as an inverse problem, with a prior that is conditioned on the first image."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.guidance import clamp
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Gaussian
from diffzoo.imaging.geometry import plain
from diffzoo.imaging.tomography import TOP, attenuation_of
from diffzoo.operators.beams import ParallelBeam
from diffzoo.spaces import around
from diffzoo.tasks.reconstruct_ct.projections import projector_of
from diffzoo.tasks.reconstruction.inferer import Posed
from diffzoo.tasks.reconstruction.solver import Solver

ENTRIES = 3.0  # matrix entries a pixel and view, both matrices, of 8 bytes each; parallel beams of one detector bin a pixel


class Tomography:
    """Poses first images [D, 1, H, W] with data "sinogram" [1, views, detectors, D], "angles" [1, views] and "beam" [1, 7].

    As `projections` gives them. The operator is scaled to norm 1, the estimate bounded to the window of CT numbers; a
    solution is attenuation relative to water. Of draws it judges "missing_wedge": the share of their deviations' energy at
    the frequencies that no ray measures.
    """

    conditions = ("sinogram", "angles", "beam")  # items of a case that it takes beside the image

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes of the sparse matrices for slices of the two largest extents, 90 views and at most 2 GiB."""
        pixels = math.prod(sorted(shape)[-2:])
        return min(2**31, 90 * ENTRIES * 8 * pixels * 1.5)

    def __call__(self, denoiser: Denoiser, image: Tensor, rows: Sequence[int], data: Mapping[str, Tensor]) -> Posed:
        raw, op = projector_of({key: plain(data[key])[0] for key in ("angles", "beam")}, image.shape[2:])
        op, first = op.to(image.device), image[rows]
        y = op.factor * plain(data["sinogram"])[0].movedim(-1, 0)[rows]
        top = attenuation_of(torch.tensor(TOP)).item()
        denoise = clamp(around(denoiser.bind(concat=first), first), 0.0, top)
        missing = missing_wedge(raw.beam, image.shape[2:], raw.pixel).to(image.device)

        def each(x: Tensor, sigma: float) -> Tensor:  # the network sees one draw at a time: in larger batches it is slower
            return torch.cat([denoise(draw, sigma) for draw in x.split(len(first))])

        def solve(solver: Solver, seeds: Sequence[int], callback: Callback | None) -> Tensor:
            return solver(each, op, y.repeat(len(seeds) // len(y), 1, 1, 1), Gaussian(seeds), callback)

        def judge(draws: Tensor) -> dict[str, Tensor]:
            return {"missing_wedge": wedge_share(draws, missing)}

        return Posed(y, op.A, solve, lambda x: x.clamp(0, top), judge, together=True)


def missing_wedge(beam: ParallelBeam, shape: Sequence[int], pixel: Sequence[float]) -> Tensor:
    """1 for the frequencies of an image [H, W] that no view measures, in the order of `torch.fft.fft2`; 0 at the mean.

    The view at angle a measures the frequencies along its detector, (cos a, sin a) (the projection-slice theorem), and stands for
    half the way to its neighbours. Fan beams are judged by the angles of their central rays.
    """
    fx, fy = (torch.fft.fftfreq(n, d=side, dtype=torch.float64) for n, side in zip(shape, pixel, strict=True))
    direction = torch.atan2(fy[None, :], fx[:, None]).remainder(math.pi)
    angles = torch.tensor(beam.angles, dtype=torch.float64).remainder(math.pi).sort().values
    gaps = torch.cat((angles[1:], angles[:1] + math.pi)) - angles
    reach = float(gaps[gaps > 1e-9].median()) / 2
    distance = (direction[..., None] - angles).abs()
    distance = torch.minimum(distance, math.pi - distance).amin(-1)
    mask = (distance > reach * 1.001).float()
    mask[0, 0] = 0
    return mask


def wedge_share(draws: Tensor, missing: Tensor) -> Tensor:
    """Share [B] of the energy of draws [K, B, 1, H, W] about their mean that lies where `missing` [H, W] is 1."""
    energy = torch.fft.fft2(draws - draws.mean(0)).abs().square().sum((0, 2))
    return (energy * missing).sum((1, 2)) / energy.sum((1, 2)).clamp(min=1e-20)

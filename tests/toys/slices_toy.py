"""Small acquisitions and a network without training, for the tests of the tasks."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffzoo.diffusion.deterministic import plug_and_play
from diffzoo.diffusion.posterior import ddnm
from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.schedule import log_snr
from diffzoo.imaging.simulate import simulate_kspace
from diffzoo.operators.coils import root_sum_of_squares
from diffzoo.operators.fourier import RealMaskedFourier, from_centred, ifft, pairs_of, uncentre
from diffzoo.operators.masks import make_mask
from diffzoo.tasks.reconstruct_mri.kspace import KSpace
from diffzoo.tasks.reconstruction.inferer import Reconstruct
from diffzoo.tasks.reconstruction.solver import Solver

SIZE = (32, 40)
SIGMA_DATA = 0.4


class Smooth(nn.Module):
    """A network of the package's interface: the mean of 3 x 3 neighbours, less the label so that sigma matters."""

    def forward(self, x: Tensor, c_noise: Tensor, *, concat=None, vector=None, tokens=None) -> Tensor:
        return 0.3 * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) - 0.01 * c_noise.reshape(-1, 1, 1, 1)


class Median(nn.Module):
    """A network that makes the preconditioned denoiser the median of 3 x 3 neighbours, a crude prior of flat regions."""

    def forward(self, x: Tensor, c_noise: Tensor, *, concat=None, vector=None, tokens=None) -> Tensor:
        skip, out, scale, _ = (c.reshape(-1, 1, 1, 1) for c in edm(SIGMA_DATA)(torch.exp(4 * c_noise)))
        image = x / scale
        neighbours = F.pad(image, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)
        return (neighbours.flatten(4).median(-1).values - skip * image) / out


def phantom(slices: int = 3) -> Tensor:
    """Nested ellipses in [0, 1], different in each slice, [D, H, W]."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    z = torch.arange(slices).reshape(-1, 1, 1)
    return (
        0.9 * ((x / 0.8) ** 2 + (y / 0.7) ** 2 < 1).float()
        - 0.5 * ((x / 0.6) ** 2 + (y / (0.4 + 0.05 * z)) ** 2 < 1).float()
        + 0.3 * ((x - 0.2 + 0.1 * z) ** 2 + y**2 < 0.03).float()
    )


def sampling(acceleration: float = 2.5, center: float = 0.25) -> Tensor:
    """Centred mask [H, W]."""
    return make_mask("gaussian1d", SIZE, acceleration, center, torch.Generator().manual_seed(1))


def real_case(slices: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Zero-filled real slices [1, 1, H, W, D], mask [1, 1, H, W] (centred), and the truth [D, 1, H, W]."""
    mask, truth = sampling(), phantom(slices)[:, None]
    op = RealMaskedFourier(uncentre(mask)[None, None])
    return op.pinv(op.A(truth)).movedim(0, -1)[None], mask[None, None], truth


def coil_case(coils: int, slices: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Zero-filled coil images [1, 2 C, H, W, D], mask [1, 1, H, W] (centred), and the true magnitude [D, 1, H, W]."""
    mask = sampling()
    kspace = simulate_kspace(phantom(slices), coils, 0.0, torch.Generator().manual_seed(0))
    truth = root_sum_of_squares(pairs_of(ifft(from_centred(kspace))))
    return pairs_of(ifft(from_centred(kspace * mask))).movedim(0, -1)[None], mask[None, None], truth


def solver(sampler=plug_and_play, steps: int = 6, rule=ddnm, start: str = "data", **options) -> Solver:
    """Data consistency by replacement on a short grid."""
    return Solver(partial(sampler), log_snr(steps, 0.02, 0.4), rule, start=start, **options)


def reconstruct(coils: str = "sense", turned: bool = False, background: float = 0.0, **options) -> Reconstruct:
    """The inferer with the toy's solver, unless told otherwise."""
    return Reconstruct(KSpace(coils, turned, background), edm(SIGMA_DATA), **{"solver": solver(), "slice_batch": 2} | options)


def psnr(image: Tensor, truth: Tensor) -> float:
    """Of [1, 1, H, W, D] against [D, 1, H, W], for range 1."""
    return float(-10 * (image[0].movedim(-1, 0) - truth).pow(2).mean().log10())

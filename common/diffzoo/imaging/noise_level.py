"""How noisy a magnitude image is, told from the image alone, and what the noise adds to its mean."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.errors import InputError

PATCH = 7  # pixels of a side
MOST = 50_000  # patches that are looked at
SIGNAL = 0.1  # of the brightest: patches whose mean is below are background
CLEAR = 5.0  # standard deviations: where a magnitude is darker, its noise is narrower than that of its parts
ROUNDS = 3
WINDOW, DARK, CUT, FEWEST = 11, 0.1, 0.1, 8  # pixels; share of the windows; share of pixels cut off; windows


def noise_level(slices: Tensor) -> float:
    """Standard deviation of white noise in slices [D, H, W], from the eigenvalues of patch covariances (Chen, Zhu & Heng 2015).

    Patches of anatomy lie near a space of few dimensions, whose other directions hold noise alone: the largest eigenvalues are
    dropped until the mean of those that are left is their median. Only patches well above the noise count, since magnitudes have
    Gaussian noise there alone. Raises InputError where fewer than a hundred patches have signal.
    """
    view = slices.unfold(1, PATCH, 1).unfold(2, PATCH, 1)  # [D, h, w, P, P], no copy
    mean = F.avg_pool2d(slices[:, None], PATCH, 1)[:, 0]
    bound, sd = SIGNAL * float(mean.max()), 0.0
    for _ in range(ROUNDS):
        bright = (mean > max(bound, CLEAR * sd)).nonzero()
        if len(bright) < 100 and sd:
            break  # so much noise that nothing is clear of it: the round before stands
        if len(bright) < 100:
            raise InputError("too little of the image has signal to tell its noise: give it with --set noise_level")
        some = bright[:: -(-len(bright) // MOST)].unbind(1)
        sd = _narrowest(view[some].reshape(-1, PATCH * PATCH))
    return sd


def _narrowest(patches: Tensor) -> float:
    """Standard deviation along the directions of patches [N, P] that hold noise alone."""
    values = torch.linalg.eigvalsh(torch.cov(patches.double().T)).clamp(min=0)
    count = len(values)
    while count > 1 and float(values[:count].mean()) > float(values[:count].median()):
        count -= 1
    return float(values[:count].mean().sqrt())


def flat_noise_level(slices: Tensor) -> float:
    """Standard deviation of noise in slices [D, H, W], white or not, in their darkest parts, such as the vitreous in OCT.

    It is the median over windows of 11 x 11 pixels whose mean is among the lowest tenth, which show nothing but noise: speckle,
    once log-compressed, scatters there as everywhere (`imaging.speckle.log_sd`). Windows in which a tenth of the pixels has the
    lowest or the highest value of all are cut off by the display, and do not count. Raises InputError where fewer than eight
    others are left.
    """
    x = slices[:, None]
    cut = F.avg_pool2d(((x <= x.min()) | (x >= x.max())).float(), WINDOW, WINDOW // 2)
    mean, square = (F.avg_pool2d(values, WINDOW, WINDOW // 2) for values in (x, x.double().square()))
    variance = (square - mean.double().square()).clamp(min=0)
    kept = cut < CUT
    if int(kept.sum()) < FEWEST:
        raise InputError("the display cuts off nearly all of the image: give its noise with --set noise_level")
    dark = mean[kept] <= torch.quantile(mean[kept], DARK)
    return float(variance[kept][dark].median().sqrt())


def rician_mean(signal: Tensor, sd: float) -> Tensor:
    """Mean of the magnitude of a complex signal with white noise of `sd` on both parts (Rice 1945): sd sqrt(pi / 2) for none."""
    half = (signal / sd).square() / 4
    laguerre = (1 + 2 * half) * torch.special.i0e(half) + 2 * half * torch.special.i1e(half)
    return sd * (torch.pi / 2) ** 0.5 * laguerre


def rician_signal(mean: Tensor, sd: float) -> Tensor:
    """The signal whose magnitude has that mean, 0 for a mean that noise alone has; the inverse of `rician_mean`, by a table."""
    grid = torch.linspace(0, 12, 2401, dtype=torch.float64, device=mean.device)
    table = rician_mean(grid, 1.0)
    x = (mean / sd).double().clamp(float(table[0]), float(table[-1]))
    high = torch.searchsorted(table, x).clamp(1, len(table) - 1)
    share = (x - table[high - 1]) / (table[high] - table[high - 1])
    near = sd * (grid[high - 1] + share * (grid[high] - grid[high - 1]))
    far = (mean.double().square() - sd**2).clamp(min=0).sqrt()  # beyond the table, exact to a thousandth of sd
    return torch.where(mean > sd * float(table[-1]), far, near).to(mean)

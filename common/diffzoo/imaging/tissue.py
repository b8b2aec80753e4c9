"""Soft tissue maps of a brain MR: a mixture of Gaussians, one a tissue, on priors that are registered to the brain.

The plain core of unified segmentation (Ashburner and Friston, NeuroImage 2005, eqs. 1 to 7), with a Markov random field by mean
field (Van Leemput et al., TMI 1999, eq. 11) in place of its deformations; the bias field is N4's (Tustison et al., TMI 2010).
"""

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.fields import warp_onto
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.registration import affine as affine_alignment
from diffzoo.imaging.registration import alignment_field

LABELS = ("background", "csf", "grey", "white", "lesion")
FLOOR = 0.02  # of a prior: anatomy may differ from the template's
BLUR_MM = 2.0  # of priors, which the affine alignment leaves about so far off
CLIQUE = 0.6  # of the random field: log odds that a neighbourhood of one tissue alone gives
ITERATIONS, SETTLED = 40, 1e-4
LEAST = 500  # voxels of brain


def tissue_maps(
    image: MetaTensor,
    brain: np.ndarray,
    template: MetaTensor,
    lesion: np.ndarray | None = None,
    matrix: np.ndarray | None = None,
) -> MetaTensor:
    """Soft maps [5, X, Y, Z] of LABELS, a partition of unity, on the grid of a brain MR [C, X, Y, Z].

    image: contrasts of one brain on one grid, the first T1-like, in any units; brain, lesion: bool [X, Y, Z]. template: [3, *]
    T1, grey and white matter (probabilities in [0, 1]) with an affine; what it leaves of the brain is fluid. matrix: the world
    map of `template_alignment`, found here where none is given. A lesion is kept out of the mixture and is what its mask says.
    Raises InputError for a brain of under 500 voxels, for images that are not finite, and where a tissue vanishes.
    """
    values = image.as_tensor().double().numpy()
    if values.shape[1:] != brain.shape or (lesion is not None and lesion.shape != brain.shape):
        raise InputError(f"brain and lesion masks must have the shape of the image, {list(values.shape[1:])}")
    if brain.sum() < LEAST or not np.isfinite(values[:, brain]).all():
        raise InputError(f"tissues need a brain of {LEAST} voxels or more, and finite values; here are {int(brain.sum())}")
    matrix = template_alignment(image, brain, template) if matrix is None else matrix
    priors = _priors(image, brain, template, matrix)
    used = brain if lesion is None else brain & ~lesion
    shares = mixture(np.log(values[:, used].clip(1e-3 * values[:, used].max())), priors[:, used], used)
    maps = np.zeros((len(LABELS), *brain.shape))
    maps[1:4, used] = shares
    if lesion is not None:
        maps[4, brain & lesion] = 1
    maps[0] = 1 - maps[1:].sum(0)
    return MetaTensor(torch.from_numpy(maps).float(), affine=image.affine)


def mixture(values: np.ndarray, priors: np.ndarray, where: np.ndarray, clique: float = CLIQUE) -> np.ndarray:
    """Posteriors [K, N] of values [C, N] under priors [K, N], by expectation and maximisation; where: bool, N places of a grid.

    Each class is one Gaussian with a full covariance. A voxel's prior is raised by what its 6 neighbours are found to be. Raises
    InputError where a class vanishes.
    """
    posterior, before = priors / priors.sum(0), -np.inf
    field, part = np.zeros((len(priors), *where.shape)), 0.0
    for step in range(ITERATIONS):
        shares = posterior.sum(1)
        if (shares < 1e-3 * values.shape[1]).any():
            raise InputError("a tissue vanished: is this a whole brain, in the contrast that was told?")
        logs = np.stack([_log_gaussian(values, share / share.sum()) for share in posterior]) + np.log(priors)
        if step:
            logs = logs + part
        top = logs.max(0)
        weights = np.exp(logs - top)
        total = weights.sum(0)
        posterior, fit = weights / total, float((top + np.log(total)).mean())
        if abs(fit - before) < SETTLED:
            break
        before = fit
        if clique:
            field[:, where] = posterior
            part = clique * _neighbours(field)[:, where]
    return posterior


def _log_gaussian(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log density [N] of the Gaussian with the weighted mean and covariance of values [C, N]."""
    mean = values @ weights
    away = values - mean[:, None]
    covariance = (away * weights) @ away.T + 1e-6 * np.eye(len(values))
    distance = (away * np.linalg.solve(covariance, away)).sum(0)
    return -0.5 * (distance + np.linalg.slogdet(covariance)[1])


def _neighbours(field: np.ndarray) -> np.ndarray:
    """Mean over the 6 neighbours of each voxel, less the mean over classes; [K, X, Y, Z]."""
    kernel = ndimage.generate_binary_structure(3, 1) / 6.0
    kernel[1, 1, 1] = 0
    mean = np.stack([ndimage.convolve(share, kernel, mode="constant") for share in field])
    return mean - mean.mean(0)


def template_alignment(image: MetaTensor, brain: np.ndarray, template: MetaTensor) -> np.ndarray:
    """The affine world map [4, 4] from a T1-like brain [C, X, Y, Z] to where a template of T1 [3, *] shows the same."""
    masked = torch.from_numpy(np.where(brain, image.as_tensor()[0].numpy(), 0)).float()[None]
    first = MetaTensor(template.as_tensor()[:1].float(), affine=template.affine)
    return affine_alignment(MetaTensor(masked, affine=image.affine), first, levels=(4, 2), iterations=60)


def _priors(image: MetaTensor, brain: np.ndarray, template: MetaTensor, matrix: np.ndarray) -> np.ndarray:
    """Priors [3, X, Y, Z] of fluid, grey and white matter on the grid of an image."""
    field = alignment_field(matrix, image)
    tissues = template.as_tensor()[None, 1:].float()
    placed = warp_onto(tissues, np.asarray(template.affine), field, np.asarray(image.affine))[0].numpy()
    grey, white = (ndimage.gaussian_filter(prior, BLUR_MM / np.array(spacing(image.affine))).clip(0, 1) for prior in placed)
    fluid = (1 - grey - white).clip(0)
    priors = np.stack([fluid, grey, white]).clip(FLOOR)
    return np.where(brain, priors / priors.sum(0), 0)


def without_bias(image: np.ndarray, brain: np.ndarray, levels: Sequence[int] = (20, 20, 20)) -> np.ndarray:
    """image [X, Y, Z] divided by the smooth field that N4 finds in the brain, bool [X, Y, Z]; outside it stays as it is.

    The field is sought on every second voxel: it is smooth, and that takes a fifth of the time.
    """
    import SimpleITK as sitk

    method = sitk.N4BiasFieldCorrectionImageFilter()
    method.SetMaximumNumberOfIterations(list(levels))
    method.SetNumberOfWorkUnits(1)
    picture, mask = (sitk.GetImageFromArray(a.T) for a in (image.astype(np.float32), brain.astype(np.uint8)))
    method.Execute(*(sitk.Shrink(volume, [2] * 3) for volume in (picture, mask)))
    field = np.exp(sitk.GetArrayFromImage(method.GetLogBiasFieldAsImage(picture)).T)
    return np.where(brain, image / field, image)

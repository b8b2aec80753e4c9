"""What a CT that was made is judged by beside its error: edges, bone and air, bias, and the slices that it made better."""

import numpy as np
import torch
from scipy import ndimage

from diffzoo.imaging.edges import UNIT, sobel, to_hu

BONE, AIR = 250.0, -400.0  # HU above and below
EDGE = 60.0  # HU a pixel, of a Sobel filter, from which there is an edge
NEAR = np.ones((3, 3, 1), bool)  # a pixel aside is the same edge
FEWEST = 20  # voxels of bone or air in the truth; with fewer there is no Dice
LEAST = 0.02  # share of a slice that is body; slices with less are not judged


def ct_figures(image: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """Figures of a CT [H, W, D] in model units beside the true one, inside a mask [H, W, D].

    "bias": mean error in HU; "edge_f1": F1 of `edges` with a pixel of tolerance; "dice_bone", "dice_air": Dice of what is above
    250 HU and below -400 HU. Each is nan where the truth has none of it.
    """
    image_hu, truth_hu = (to_hu(torch.as_tensor(x).double()).numpy() for x in (image, truth))
    inside = np.asarray(inside, bool)
    return {
        "bias": float((image_hu - truth_hu)[inside].mean()) if inside.any() else float("nan"),
        "edge_f1": near_f1(edges(image) & inside, edges(truth) & inside),
        "dice_bone": dice((image_hu > BONE) & inside, (truth_hu > BONE) & inside),
        "dice_air": dice((image_hu < AIR) & inside, (truth_hu < AIR) & inside),
    }


def edges(image: np.ndarray) -> np.ndarray:
    """Where slices [H, W, D] in model units change by more than EDGE in a pixel: bool [H, W, D]."""
    slices = torch.as_tensor(image).double().movedim(-1, 0)[:, None]
    along, across = sobel(slices)
    return (torch.hypot(along, across)[:, 0].movedim(0, -1) * UNIT / 8 > EDGE).numpy()  # the filter's weights sum up to 8


def near_f1(outline: np.ndarray, true: np.ndarray) -> float:
    """F1 of masks [H, W, D] of thin things: what lies within a pixel of the other in its slice counts as found."""
    if not true.any():
        return float("nan")
    if not outline.any():
        return 0.0
    precision = (outline & ndimage.binary_dilation(true, NEAR)).sum() / outline.sum()
    recall = (true & ndimage.binary_dilation(outline, NEAR)).sum() / true.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def dice(mask: np.ndarray, true: np.ndarray) -> float:
    """Dice of two masks; nan where the true one has fewer than FEWEST voxels."""
    return float(2 * (mask & true).sum() / (mask.sum() + true.sum())) if true.sum() >= FEWEST else float("nan")


def gains(image: np.ndarray, source: np.ndarray, truth: np.ndarray, inside: np.ndarray, peak: float) -> dict[str, float]:
    """Shares of the slices [H, W, D] in which an image is nearer to the truth than its source, by PSNR and by SSIM.

    Slices of which less than 2 % are inside are left out; nan where all are.
    """
    slices = np.flatnonzero(inside.mean((0, 1)) >= LEAST)
    if not len(slices):
        return {"better_psnr": float("nan"), "better_ssim": float("nan")}
    closer = [_error(image, truth, inside, k) < _error(source, truth, inside, k) for k in slices]
    alike = [_ssim(image, truth, inside, k, peak) > _ssim(source, truth, inside, k, peak) for k in slices]
    return {"better_psnr": float(np.mean(closer)), "better_ssim": float(np.mean(alike))}


def _error(image: np.ndarray, truth: np.ndarray, inside: np.ndarray, k: int) -> float:
    return float(np.square(image[..., k] - truth[..., k], dtype=np.float64)[inside[..., k]].mean())


def _ssim(image: np.ndarray, truth: np.ndarray, inside: np.ndarray, k: int, peak: float) -> float:
    from skimage.metrics import structural_similarity

    pair = (np.asarray(x[..., k], np.float64) for x in (image, truth))
    return float(structural_similarity(*pair, data_range=peak, full=True)[1][inside[..., k]].mean())

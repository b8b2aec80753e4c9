"""Image quality of a translated volume inside the body."""

import numpy as np

from diffzoo.metrics.spectrum import detail

LEAST = 0.02  # share of a slice that is body; slices with less are not judged


def translated_metrics(image: np.ndarray, truth: np.ndarray, inside: np.ndarray, peak: float | None = None) -> dict[str, float]:
    """PSNR (dB), SSIM, MAE and detail of a volume [H, W, D] inside a mask.

    peak: the data range (default: the greatest value of the truth, whatever slices are judged); PSNR and MAE are over all voxels
    of the mask, SSIM (scikit-image, 7 x 7) is the mean of its map there over slices with enough of it, detail as in
    `metrics.spectrum`. Raises ValueError for an empty mask.
    """
    from skimage.metrics import structural_similarity

    image, truth, inside = np.asarray(image, np.float64), np.asarray(truth, np.float64), np.asarray(inside, bool)
    if not inside.any():
        raise ValueError("the mask is empty: there is nothing to judge")
    peak = float(truth[inside].max()) if peak is None else peak
    error = (image - truth)[inside]
    maps = [
        structural_similarity(image[..., k], truth[..., k], data_range=peak, full=True)[1][inside[..., k]]
        for k in range(truth.shape[-1])
        if inside[..., k].mean() >= LEAST
    ]
    return {
        "psnr": float(10 * np.log10(peak**2 / max(float(np.mean(error**2)), 1e-12 * peak**2))),
        "ssim": float(np.mean(np.concatenate(maps))) if maps else float("nan"),
        "mae": float(np.abs(error).mean()),
        "detail": detail(image * inside, truth * inside),
    }

"""Image quality against a reference, slice by slice."""

import numpy as np

SIGNAL = 0.05  # of the volume's maximum: slices that never exceed it are air and are not judged


def slice_metrics(image: np.ndarray, reference: np.ndarray) -> dict[str, list[float]]:
    """PSNR (dB), SSIM and NMSE of each slice along the last axis of magnitude volumes [H, W, D].

    The data range is the maximum of the reference volume, SSIM uses scikit-image's 7 x 7 window, NMSE is |x - r|^2 / |r|^2: the
    conventions of fastMRI (Zbontar et al. 2018, sec. 6), by slice. Slices without signal are left out.
    """
    from skimage.metrics import structural_similarity

    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    peak = reference.max()
    found: dict[str, list[float]] = {"psnr": [], "ssim": [], "nmse": []}
    for k in range(reference.shape[-1]):
        x, r = image[..., k], reference[..., k]
        if r.max() <= SIGNAL * peak:
            continue
        error = np.mean((x - r) ** 2)
        found["psnr"].append(float(10 * np.log10(peak**2 / max(error, 1e-20 * peak**2))))
        found["ssim"].append(float(structural_similarity(x, r, data_range=peak)))
        found["nmse"].append(float(np.sum((x - r) ** 2) / np.sum(r**2)))
    return found


def spread_metrics(std: np.ndarray, image: np.ndarray, reference: np.ndarray, tissue: float = 0.1) -> dict[str, float]:
    """How a standard deviation map [H, W, D] relates to the error, on tissue: above that share of the reference's maximum.

    spearman: rank correlation with |image - reference|, the mean over slices of over 100 such pixels, NaN where there is none;
    mean_std: in units of the reference's maximum.
    """
    from scipy.stats import spearmanr

    peak = float(np.max(reference))
    error, within = np.abs(np.asarray(image) - reference), np.asarray(reference) > tissue * peak
    ranks = [
        spearmanr(std[..., k][inside], error[..., k][inside]).statistic
        for k in range(std.shape[-1])
        if (inside := within[..., k]).sum() > 100
    ]
    return {
        "spearman": float(np.mean(ranks)) if ranks else float("nan"),
        "mean_std": float(np.mean(np.asarray(std)[within]) / peak),
    }

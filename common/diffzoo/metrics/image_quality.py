"""Image quality against a reference, slice by slice."""

import numpy as np

from diffzoo.metrics.calibration import local_rms, ranks, spread_figures

SIGNAL = 0.05  # of the volume's maximum: slices that never exceed it are air and are not judged


def slice_metrics(image: np.ndarray, reference: np.ndarray, peak: float | None = None) -> dict[str, list[float]]:
    """PSNR (dB), SSIM, NMSE and RMSE of each slice along the last axis of magnitude volumes [H, W, D].

    peak: the data range, which is the maximum of the whole reference volume, whatever slices of it are judged (default: that of
    `reference`). SSIM uses scikit-image's 7 x 7 window, NMSE is |x - r|^2 / |r|^2: the conventions of fastMRI (Zbontar et al.
    2018, sec. 6), by slice. RMSE is in the unit of the volumes. Slices without signal are left out.
    """
    from skimage.metrics import structural_similarity

    image, reference = np.asarray(image, np.float64), np.asarray(reference, np.float64)
    peak = float(reference.max()) if peak is None else peak
    figures: dict[str, list[float]] = {"psnr": [], "ssim": [], "nmse": [], "rmse": []}
    for k in range(reference.shape[-1]):
        x, r = image[..., k], reference[..., k]
        if r.max() <= SIGNAL * peak:
            continue
        error = np.mean((x - r) ** 2)
        figures["psnr"].append(float(10 * np.log10(peak**2 / max(error, 1e-20 * peak**2))))
        figures["ssim"].append(float(structural_similarity(x, r, data_range=peak)))
        figures["nmse"].append(float(np.sum((x - r) ** 2) / np.sum(r**2)))
        figures["rmse"].append(float(np.sqrt(error)))
    return figures


def spread_metrics(std: np.ndarray, image: np.ndarray, reference: np.ndarray, tissue: float = 0.1) -> dict[str, float]:
    """What a standard deviation map [H, W, D] is worth on tissue: above that share of the reference's maximum.

    As `calibration.spread_figures`, spearman being the mean over slices of over 100 such pixels; mean_std is in units of the
    reference's maximum.
    """
    peak = float(np.max(reference))
    error, within = np.asarray(image, np.float64) - reference, np.asarray(reference) > tissue * peak
    local = local_rms(error)
    ranked = [ranks(local[..., k][within[..., k]], std[..., k][within[..., k]]) for k in range(std.shape[-1])]
    ranked = [value for value in ranked if np.isfinite(value)]
    figures = spread_figures(error[within], np.asarray(std)[within])
    figures["spearman"] = float(np.mean(ranked)) if ranked else float("nan")
    return figures | {"mean_std": figures["mean_std"] / peak if peak > 0 else float("nan")}

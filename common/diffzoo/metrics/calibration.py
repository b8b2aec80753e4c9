"""Whether a standard deviation map tells how far an image is off: coverage of intervals, and the factor that sets it right."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm, spearmanr

LEVELS = (0.5, 0.8, 0.95)
LEAST = 100  # voxels, for a rank correlation
WIDTH = 2.0  # pixels, the Gaussian over which an error is taken as local


def ratios(error: np.ndarray, std: np.ndarray) -> np.ndarray:
    """|error| / std [N] of the voxels that have a std."""
    error, std = (np.asarray(x, np.float64).ravel() for x in (error, std))
    return np.abs(error[std > 0]) / std[std > 0]


def coverage(error: np.ndarray, std: np.ndarray, levels: Sequence[float] = LEVELS) -> dict[str, float]:
    """Share of voxels within the central Gaussian interval of each level, {"0.8": 0.81, ...}; NaN where no voxel has a std."""
    scaled = ratios(error, std)
    return {
        f"{level:g}": float((scaled <= norm.ppf(0.5 + level / 2)).mean()) if len(scaled) else float("nan") for level in levels
    }


def factor(error: np.ndarray, std: np.ndarray, level: float = 0.8) -> float:
    """What to multiply a std by, so that its interval of a level covers that share of the voxels; NaN where none has a std."""
    scaled = ratios(error, std)
    return float(np.quantile(scaled, level) / norm.ppf(0.5 + level / 2)) if len(scaled) else float("nan")


def ranks(error: np.ndarray, std: np.ndarray) -> float:
    """Spearman's correlation of |error| and std [N]; NaN for few voxels, or where one of them is the same everywhere."""
    error, std = (np.asarray(x).ravel() for x in (np.abs(error), std))
    if len(error) <= LEAST or np.ptp(error) == 0 or np.ptp(std) == 0:
        return float("nan")
    return float(spearmanr(error, std).statistic)


def local_rms(error: np.ndarray, width: float = WIDTH) -> np.ndarray:
    """Root mean square of errors [H, W, D] under a Gaussian of `width` pixels within each slice.

    A std says how large an error may be, a single error is one draw of it: its size is seen among neighbours.
    """
    return np.sqrt(gaussian_filter(np.asarray(error, np.float64) ** 2, (width, width, 0)).clip(min=0))


def spread_figures(error: np.ndarray, std: np.ndarray) -> dict[str, float]:
    """Figures of errors and std [N]: spearman (`ranks`), factor (of 80 %), mean_std (sharpness), and covered_0.5, _0.8, _0.95.

    NaN where voxels do not tell.
    """
    figures = {"spearman": ranks(error, std), "factor": factor(error, std), "mean_std": float(np.mean(std))}
    return figures | {f"covered_{level}": share for level, share in coverage(error, std).items()}

"""How much fine detail an image has beside the true one: power of its frequencies, ring by ring."""

import numpy as np

BAND = (0.35, 0.7)  # of the Nyquist frequency: detail, below what interpolation of the scan leaves


def radial_power(slices: np.ndarray, rings: int = 32) -> np.ndarray:
    """Mean power [rings] of slices [N, H, W] in rings of even width from 0 to the Nyquist frequency, a Hann window over each."""
    slices = np.asarray(slices, np.float64)
    height, width = slices.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = (np.abs(np.fft.fft2(slices * window)) ** 2).mean(0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)) / 0.5
    ring = np.minimum((radius * rings).astype(int), rings)
    total, count = (np.bincount(ring.ravel(), weights, rings + 1)[:rings] for weights in (power.ravel(), np.ones(power.size)))
    return total / np.maximum(count, 1)


def detail(image: np.ndarray, truth: np.ndarray, band: tuple[float, float] = BAND) -> float:
    """Amplitude of an image [H, W, D] over that of the truth in a band of frequencies (of Nyquist); below 1 is smoother.

    The geometric mean over rings, so that each frequency counts alike; NaN where the truth has no signal there.
    """
    powers = [radial_power(np.moveaxis(np.asarray(x), -1, 0)) for x in (image, truth)]
    rings = len(powers[0])
    chosen = slice(int(band[0] * rings), int(np.ceil(band[1] * rings)))
    power, true = (p[chosen] for p in powers)
    if not (true > 0).all():
        return float("nan")
    return float(np.exp(0.5 * np.mean(np.log(np.maximum(power, 1e-12 * true) / true))))

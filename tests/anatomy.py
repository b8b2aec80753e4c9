"""A simulated scan for the tests."""

import numpy as np


def anatomy(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A head-like magnitude volume [X, Y, Z] in [0, 900]: a bright shell, sloping tissue, dark holes; like none of its flips."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (0.3 * z) ** 2)
    tissue = 0.5 + 0.25 * x + 0.2 * y + 0.1 * z + 0.1 * np.sin(6 * x + 1) * np.cos(5 * y)
    image = np.where(radius < 0.8, tissue, 0.0) + 0.9 * ((radius > 0.85) & (radius < 0.97))
    for centre in rng.uniform(-0.4, 0.4, (3, 2)):
        image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 0.015] = 0.2
    return (900 * np.clip(image, 0, 1)).astype(np.float32)

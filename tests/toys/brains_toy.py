"""Small images of people who never were, of whom a generator can copy: one outline, and tissue of each person's own."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter


def people(count, seed=0, size=48, each=1, channels=1):
    """Images [count * each, channels, size, size] in about [0, 1]; those of one person, one after another, are alike."""
    rng, rows = np.random.default_rng(seed), []
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for _ in range(count):
        wide, high = rng.uniform(0.6, 0.75), rng.uniform(0.75, 0.9)
        inside = gaussian_filter(((x / wide) ** 2 + (y / high) ** 2 < 1).astype(float), 1)
        own = _texture(rng, size)
        for _ in range(each):
            rows.append(inside * (0.5 + 0.2 * own + 0.05 * _texture(rng, size)))
    return torch.tensor(np.stack(rows), dtype=torch.float32)[:, None].repeat(1, channels, 1, 1)


def _texture(rng, size):
    field = gaussian_filter(rng.standard_normal((size, size)), size / 16)
    return field / field.std()

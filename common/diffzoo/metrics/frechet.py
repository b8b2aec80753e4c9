"""How far two sets of features lie apart: the Frechet distance with what it means at that number of images, and coverage."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from diffzoo.errors import InputError

LEAST = 8  # images a set


def frechet(a: np.ndarray, b: np.ndarray, shrinkage: float = 0.0) -> float:
    """Squared Frechet distance of the Gaussians of two sets of features [n, F] and [m, F] (Dowson and Landau 1982).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^1/2), as FID has it (Heusel et al. 2017, eq. 6), by eigenvalues of A^1/2 B A^1/2, so
    that it stands singular covariances. `shrinkage` in [0, 1] is the share taken off all covariances between features. Raises
    InputError for sets of fewer than 2 items, of unequal features or not finite.
    """
    a, b = _sets(a, b, least=2)
    if not 0 <= shrinkage <= 1:
        raise InputError(f"shrinkage is a share from 0 to 1, not {shrinkage}")
    first, second = (_shrunk(np.atleast_2d(np.cov(x, rowvar=False)), shrinkage) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(max(np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first) + np.trace(second) - 2 * cross, 0.0))


def extrapolated(a: np.ndarray, b: np.ndarray, seed: int = 0, sizes: int = 6, draws: int = 4) -> float:
    """Frechet distance for ever larger sets: the intercept of a line in 1 / n (Chong and Forsyth 2020, sec. 3).

    From `draws` subsets at each of `sizes` numbers, n / 2 to n of the smaller set; may be a little below 0 for equal sources.
    """
    a, b = _sets(a, b, least=2 * LEAST)
    most, rng = min(len(a), len(b)), np.random.default_rng(seed)
    numbers = np.unique(np.linspace(most / 2, most, sizes).round().astype(int)).repeat(draws)
    values = [frechet(rng.permutation(a)[:n], rng.permutation(b)[:n]) for n in numbers]
    return float(np.polyfit(1 / numbers, values, 1)[1])


def compare(
    real: np.ndarray,
    fake: np.ndarray,
    null: np.ndarray | None = None,
    groups: Sequence | None = None,
    draws: int = 10,
    resamples: int = 100,
    shrinkage: float = 0.0,
    seed: int = 0,
) -> dict:
    """The Frechet distance of fakes [M, F] from reals [N, F], beside that of reals from reals at the same number of images.

    groups: whose each real image is; halves share nobody. null: features of what an untrained generator gives. Over `draws`
    random halves of the real images, n of one half against n fakes (`fake`), n of the other half (`real`), n of null (`null`):
    means; `ratio` is fake / real. `interval`: 95 % of `resamples` bootstrap values (groups and fakes with replacement), moved to
    centre on `fake`, for resampling alone makes every distance larger. Raises InputError for fewer than 16 reals, 8 others, or
    one group.
    """
    real, fake = _sets(real, fake, least=LEAST)
    others = {"fake": fake} if null is None else {"fake": fake, "null": _sets(real, null, least=LEAST)[1]}
    whose = np.arange(len(real)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    halves = [_halves(whose, rng) for _ in range(draws)]
    n = min(*(len(half) for pair in halves for half in pair), *map(len, others.values()))
    if n < LEAST:
        raise InputError(f"{n} images a set are too few for a Frechet distance: it needs {LEAST} and twice as many real ones")
    values: dict[str, list[float]] = {"real": [], **{key: [] for key in others}}
    for left, right in halves:
        base = real[left[:n]]
        values["real"].append(frechet(base, real[right[:n]], shrinkage))
        for key, items in others.items():
            values[key].append(frechet(base, rng.permutation(items)[:n], shrinkage))
    distances = {key: float(np.mean(each)) for key, each in values.items()}
    spread = np.array([_resampled(real, whose, fake, n, shrinkage, rng) for _ in range(resamples)])
    low, high = np.quantile(spread - spread.mean(), (0.025, 0.975)) + distances["fake"]
    distances |= {"ratio": distances["fake"] / distances["real"], "interval": [float(max(low, 0)), float(high)]}
    return {"n": int(n), **distances, "features": real.shape[1], "shrinkage": shrinkage, "n_real": len(real), "n_fake": len(fake)}


def coverage(real: np.ndarray, fake: np.ndarray, neighbours: int = 3) -> dict[str, float]:
    """Precision (fakes within a ball of the reals) and recall (reals within one of the fakes) of feature sets [N, F], [M, F].

    Balls reach to the k-th neighbour in their own set (Kynkaanniemi et al. 2019, eqs. 1 and 2), each feature in units of its
    standard deviation among reals.
    """
    real, fake = _sets(real, fake, least=neighbours + 1)
    unit = real.std(0) + 1e-9 + 1e-3 * real.std()
    real, fake = real / unit, fake / unit
    between = cdist(real, fake)
    reach = [np.sort(cdist(x, x), 1)[:, neighbours] for x in (real, fake)]
    precision, recall = (between <= reach[0][:, None]).any(0), (between <= reach[1]).any(1)
    return {"precision": float(precision.mean()), "recall": float(recall.mean())}


def _halves(whose: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the items, each in random order, that share no group."""
    sizes = np.bincount(whose)
    if len(sizes) < 2:
        raise InputError("all real images are of one person: halves that share nobody need two")
    first, count = [], 0
    for group in rng.permutation(len(sizes)):
        if not first or count + sizes[group] / 2 <= sizes.sum() / 2:
            first.append(group)
            count += sizes[group]
    inside = np.isin(whose, first[: len(sizes) - 1])
    return rng.permutation(np.flatnonzero(inside)), rng.permutation(np.flatnonzero(~inside))


def _resampled(
    real: np.ndarray, whose: np.ndarray, fake: np.ndarray, n: int, shrinkage: float, rng: np.random.Generator
) -> float:
    members = [np.flatnonzero(whose == g) for g in rng.integers(0, whose.max() + 1, whose.max() + 1)]
    drawn = rng.choice(np.concatenate(members), n)
    return frechet(real[drawn], fake[rng.integers(0, len(fake), n)], shrinkage)


def _shrunk(matrix: np.ndarray, share: float) -> np.ndarray:
    return (1 - share) * matrix + share * np.diag(np.diag(matrix))


def _sets(a: np.ndarray, b: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"sets of features have shapes [n, F] and [m, F], not {list(a.shape)} and {list(b.shape)}")
    if min(len(a), len(b)) < least:
        raise InputError(f"sets of {len(a)} and {len(b)} images are too small: each needs {least}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("features hold NaN or infinite values")
    return a, b

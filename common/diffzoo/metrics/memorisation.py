"""The audit of a generator: how many of its samples are copies of training images, seen in two views, and what gives it away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.preview import Column, montage
from diffzoo.metrics.embedding import contrastive
from diffzoo.metrics.neighbours import Nearest, copies, copying, nearest, same_patient, thresholds, wilson
from diffzoo.metrics.registered import between

BINS = np.linspace(0, 1, 21)
WORST, ROWS = 20, 10  # pairs in the picture, and rows of it
FALSE, COPYING, KNOWN = 0.01, -3.0, 0.55  # share of copies, Z_U and membership AUC from which on the audit speaks up
VIEWS = ("registered", "contrastive")


@dataclass(frozen=True)
class View:
    """Samples and hold-out images among the training images, as one measure of distance sees them."""

    samples: Nearest
    holdout: Nearest
    limits: dict[str, float]

    @property
    def copied(self) -> np.ndarray:
        """Which samples are copies, bool [M]."""
        return copies(self.samples, self.limits)

    def facts(self) -> dict:
        """What audit.json tells of this view."""
        count, total = int(self.copied.sum()), len(self.copied)
        near = {"samples": self.samples.distance, "holdout": self.holdout.distance}
        return {
            "copies": count,
            "copy_fraction": count / total,
            "copy_interval": list(wilson(count, total)),
            "copy_fraction_of_holdout": float(copies(self.holdout, self.limits).mean()),
            "alike_fraction": float((self.samples.distance < self.limits["alike"]).mean()),
            "z_u": copying(self.samples.distance, self.holdout.distance),
            "thresholds": self.limits,
            "distance_percentiles_1_5_50": {k: np.percentile(v, (1, 5, 50)).tolist() for k, v in near.items()},
            "nndr_histogram": {
                "edges": BINS.round(2).tolist(),
                "samples": np.histogram(self.samples.ratio, BINS)[0].tolist(),
                "holdout": np.histogram(self.holdout.ratio, BINS)[0].tolist(),
            },
        }


@dataclass(frozen=True)
class Audit:
    """What `audit` found, samples in their order; membership: of `membership.attack`, or None where no denoiser was at hand."""

    views: Mapping[str, View]
    counts: Mapping[str, int]
    membership: Mapping | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)  # "samples" and "train"

    @property
    def copied(self) -> np.ndarray:
        """Which samples are copies in the registered view, bool [M]."""
        return self.views[VIEWS[0]].copied

    @property
    def worst(self) -> list[tuple[int, int]]:
        """Up to 20 pairs (sample, training image), copies first, then nearest ones."""
        view = self.views[VIEWS[0]]
        order = np.lexsort((view.samples.distance, ~view.copied))[:WORST]
        return [(int(k), int(view.samples.index[k])) for k in order]

    def warnings(self) -> list[str]:
        """What a reader must not overlook, a line each; empty where nothing speaks for memorisation."""
        lines, view = [], self.views[VIEWS[0]].facts()
        if view["copy_fraction"] > FALSE:
            lines.append(f"{view['copies']} of {self.counts['samples']} samples are copies of training images")
        for name, seen in self.views.items():
            if (z := seen.facts()["z_u"]) < COPYING:
                lines.append(f"samples lie nearer to the training set than new people do ({name} view, Z_U {z:.1f})")
        if self.membership and self.membership["interval"][0] > KNOWN:
            lines.append(f"the network knows its training images: membership AUC {self.membership['auc']:.2f}")
        return lines

    def facts(self) -> dict:
        """The content of audit.json."""
        named = {key: list(values) for key, values in self.names.items()}
        view = self.views[VIEWS[0]].samples
        pairs = [
            {"sample": s, "train": t, "distance": float(view.distance[s]), "nndr": float(view.ratio[s])} for s, t in self.worst
        ]
        for pair in pairs:
            pair |= {key: named[part][pair[key]] for key, part in (("sample", "samples"), ("train", "train")) if part in named}
        return {
            **{f"n_{key}": count for key, count in self.counts.items()},
            "copy_fraction": float(self.copied.mean()),
            "copy_interval": list(wilson(int(self.copied.sum()), len(self.copied))),
            "views": {name: view.facts() for name, view in self.views.items()},
            "membership": dict(self.membership) if self.membership else None,
            "warnings": self.warnings(),
            "nearest_pairs": pairs,
        }


def audit(
    train: Tensor,
    samples: Tensor,
    holdout: Tensor,
    people: Sequence | None = None,
    membership: Mapping | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
    steps: int = 800,
    seed: int = 0,
) -> Audit:
    """Looks for training images [N, C, *S] among samples [M, C, *S], with images [H, C, *S] of other people as the measure.

    people: whose each training image is, each its own by default. In the "registered" view (`registered.between`) copies are
    counted; the "contrastive" one is an embedding trained for `steps`, 0 to leave it out. Raises InputError for empty sets, for
    images of unequal size, or fewer than 4 hold-out images.
    """
    sets = {"train": train, "samples": samples, "holdout": holdout}
    if not all(map(len, sets.values())) or len({tuple(images.shape[1:]) for images in sets.values()}) > 1:
        shapes = ", ".join(f"{name} {list(images.shape)}" for name, images in sets.items())
        raise InputError(f"an audit needs training images, samples and a hold-out of one size, not {shapes}")
    whose = np.arange(len(train)) if people is None else np.asarray(people)
    views = {VIEWS[0]: _view(between, train, samples, holdout, whose)}
    if steps:
        embed = contrastive(train, steps, seed=seed)
        vectors = (torch.from_numpy(embed(images)) for images in (train, samples, holdout))
        views[VIEWS[1]] = _view(lambda a, b: cdist(a.numpy(), b.numpy()), *vectors, whose)
    counts = {name: len(images) for name, images in sets.items()} | {"people": len(np.unique(whose))}
    return Audit(views, counts, membership, names or {})


def _view(
    apart: Callable[[Tensor, Tensor], np.ndarray], train: Tensor, samples: Tensor, holdout: Tensor, whose: np.ndarray
) -> View:
    near = [nearest(apart(queries, train), whose) for queries in (samples, holdout)]
    pairs = same_patient(lambda i, j: apart(train[i], train[j]), whose)
    return View(*near, thresholds(near[1], pairs))


def worst_pairs(path: str | Path, result: Audit, samples: Tensor, train: Tensor) -> Path:
    """Writes a picture of the pairs that lie nearest, sample beside training image, copies first; [., C, *S] of 2 or 3 axes."""
    pairs = result.worst
    rows = min(ROWS, len(pairs))
    blocks = [pairs[k : k + rows] for k in range(0, len(pairs) - rows + 1, rows)]
    columns = []
    for block in blocks:
        columns.append(Column("sample", [_plane(samples[s]) for s, _ in block]))
        columns.append(Column("nearest in training", [_plane(train[t]) for _, t in block]))
    facts = result.facts()
    view = facts["views"][VIEWS[0]]
    low, high = facts["copy_interval"]
    caption = f"{view['copies']} of {facts['n_samples']} samples are copies ({low:.1%} to {high:.1%}); distance under "
    caption += f"{view['thresholds']['copy']:.3f} and NNDR under {view['thresholds']['ratio']:.2f}"
    distance = result.views[VIEWS[0]].samples.distance
    labels = [" | ".join(f"{distance[block[k][0]]:.3f}" for block in blocks) for k in range(rows)]
    return montage(path, columns, labels=labels, caption=caption)


def _plane(image: Tensor) -> np.ndarray:
    plane = image.float().mean(0).numpy()
    return plane if plane.ndim == 2 else plane[..., plane.shape[2] // 2]

"""`diffzoo audit`: folders of samples, training images and others in; audit.json and a picture of the nearest pairs out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_json
from diffzoo.metrics.features import LEAST, features
from diffzoo.metrics.frechet import compare, coverage
from diffzoo.metrics.images import Images, is_flat, load_images
from diffzoo.metrics.memorisation import Audit, audit, worst_pairs
from diffzoo.zoo.finetune.find import find_scans

REPORT, PICTURE = "audit.json", "pairs.png"
MOST_SIZE, MOST_STEPS = 512, 100_000
SHRINKAGE = 0.1  # of covariances, where images are fewer than their features
Say = Callable[[str], None]


class Held(NamedTuple):
    """A set of images, and whose each of them is."""

    images: Images
    people: list[str]


def audited(
    samples: str | Path,
    train: str | Path,
    holdout: str | Path,
    output: str | Path,
    untrained: str | Path | None = None,
    size: int = 64,
    framed: bool = True,
    steps: int = 800,
    pattern: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    say: Say = lambda line: None,
) -> dict:
    """Audits samples against training images, with those of other people as the measure; the content of audit.json.

    untrained: what the generator made before training, the far end of the Frechet distance. framed: as `metrics.images`.
    Raises InputError, with nothing written, for sets that cannot be compared and for people who are in both real sets.
    """
    place = _free(Path(output), overwrite)
    if not (LEAST <= size <= MOST_SIZE and 0 <= steps <= MOST_STEPS):
        raise InputError(f"--size {size} --steps {steps}: give {LEAST} to {MOST_SIZE} and 0 to {MOST_STEPS}")
    folders = {"samples": samples, "train": train, "holdout": holdout} | ({"untrained": untrained} if untrained else {})
    flat = is_flat(find_scans(samples)[0].image)
    sets = {name: _image_set(folder, flat, size, framed, pattern) for name, folder in folders.items()}
    say(", ".join(f"{name} {len(part.images.pixels)} images of {len(set(part.people))}" for name, part in sets.items()))
    if shared := sorted(set(sets["train"].people) & set(sets["holdout"].people)):
        raise InputError(f"{shared[0]} is among the training images and in the hold-out: give other people, or --subject-pattern")
    pixels = {name: part.images.pixels for name, part in sets.items()}
    names = {name: sets[name].images.names for name in ("samples", "train")}
    result = audit(pixels["train"], pixels["samples"], pixels["holdout"], sets["train"].people, None, names, steps, seed)
    facts = result.facts() | {"distance": distances(sets, seed), "settings": {"size": size, "framed": framed, "seed": seed}}
    place.mkdir(parents=True, exist_ok=True)
    worst_pairs(place / PICTURE, result, pixels["samples"], pixels["train"])
    write_json(place / REPORT, facts)
    for line in _lines(result, facts):
        say(line)
    say(f"report {place / REPORT}, picture {place / PICTURE}")
    return facts


def distances(sets: Mapping[str, Held], seed: int = 0) -> dict | None:
    """Frechet distance and coverage of samples among all real images; None where there are too few for them."""
    real = [sets[name] for name in ("train", "holdout")]
    whose = [person for part in real for person in part.people]
    features_real = np.concatenate([features(part.images.pixels).numpy() for part in real])
    fake, *null = (features(sets[name].images.pixels).numpy() for name in ("samples", "untrained") if name in sets)
    try:
        figures = compare(features_real, fake, null[0] if null else None, whose, shrinkage=SHRINKAGE, seed=seed)
    except InputError:
        return None
    return figures | coverage(features_real, fake)


def _free(place: Path, overwrite: bool) -> Path:
    if place.exists() and not place.is_dir():
        raise InputError(f"{place} is a file: give a folder with -o")
    if (place / REPORT).exists() and not overwrite:
        raise InputError(f"{place / REPORT} is there already: choose another folder, or --overwrite")
    return place


def _image_set(folder: str | Path, flat: bool, size: int, framed: bool, pattern: str | None) -> Held:
    scans = find_scans(folder, pattern=pattern)
    images = load_images([scan.image for scan in scans], flat, size, framed)
    return Held(images, [scans[number].subject for number in images.files])


def _lines(result: Audit, facts: Mapping) -> list[str]:
    low, high = facts["copy_interval"]
    lines = [f"copies: {facts['copy_fraction']:.1%} of the samples ({low:.1%} to {high:.1%})"]
    if (far := facts["distance"]) is None:
        lines.append("Frechet distance: too few images, or all real ones of one person")
    else:
        ends = f"real from real {far['real']:.3g}" + (f", untrained {far['null']:.3g}" if "null" in far else "")
        lines.append(f"Frechet distance: {far['fake']:.3g} of {far['n']} images; {ends}")
    return lines + [f"warning: {line}" for line in result.warnings()]

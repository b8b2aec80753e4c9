"""Checks of what comes out: on the grid of the input, the same again, and whatever is computed beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffzoo.zoo.session import Session
from diffzoo.zoo.verify.check import Broken, Skipped
from diffzoo.zoo.verify.samples import file_name, geometries, inputs, stack, write_sample
from diffzoo.zoo.verify.subject import Subject

ROUNDING = 1e-3  # of the range: batches round otherwise, and steps at high noise towards exact data amplify that
SAME = 1e-5  # of the range: world places are computed from the affine, whose digits end
ALIKE = 0.4  # least correlation of what a flip turns into its negative, in scan and result
READY = ("inference properties",)


@dataclass(frozen=True)
class Output:
    """One file that a run wrote."""

    array: np.ndarray
    affine: np.ndarray
    integral: bool  # of whole numbers, as masks are


def outputs(subject: Subject, folder: str, paths: Sequence[Path], settings: Mapping) -> list[dict[str, Output]]:
    """Runs the bundle over scans into a new folder; the outputs of each by name, the main one first."""
    from diffzoo.imaging.io.cases import cases_at

    place = subject.folder(folder)
    session = Session(subject.bundle, settings=settings, device="cpu", output_dir=place)
    files = [file for path in paths for file in inputs(subject, path)]
    outcome = session.run(session.expanded(cases_at(files)))
    if outcome.failures:
        raise Broken(
            f"a simulated scan fails: {outcome.failures[0][1]}",
            "name the task as `kind` in metadata.json, or mend the preprocessing",
        )
    return [{name.removeprefix(f"{c['case']}_"): read(place / name) for name in c["outputs"]} for c in outcome.cases]


def read(path: Path) -> Output:
    """A NIfTI file that a run wrote."""
    from diffzoo.imaging.io.formats import read_stored

    array, affine, kind = read_stored(path)
    return Output(np.asarray(array), affine, kind.kind in "iub")


def geometry(subject: Subject) -> str:
    """Outputs are finite, on the grid of the input (flipped, oblique, anisotropic, permuted, odd sizes), and turned as it is."""
    subject.after(*READY)
    settings, place = subject.short(["inference"]), subject.folder("geometry")
    kinds: set[str] = set()
    for kind, stored in geometries(subject).items():
        path = place / file_name(subject, kind)
        array = write_sample(path, subject, stored)
        [volumes] = outputs(subject, f"geometry_{kind}", [path], settings)
        if not volumes:
            raise Broken("a run writes no volume", "name what it writes under report::volumes")
        for name, volume in volumes.items():
            _check_grid(f"{kind}: {name}", volume, stored.shape, stored.affine)
        if not any(_turned_alike(array, volume.array) for volume in volumes.values()):
            raise Broken(f"{kind}: no output lies in space as the scan does", "undo in postprocessing what preprocessing turned")
        kinds |= set(volumes)
    return f"{len(geometries(subject))} geometries, outputs {', '.join(sorted(n.split('.')[0] for n in kinds))}"


def _check_grid(what: str, volume: Output, shape: tuple[int, ...], affine: np.ndarray) -> None:
    if volume.array.shape[:3] != shape or not np.allclose(volume.affine, affine, atol=1e-4):
        raise Broken(f"{what} is not on the grid of the scan", "restore it by the inverse of the preprocessing")
    if not np.isfinite(volume.array).all():
        raise Broken(f"{what} has values that are not finite", "look at the sampler and the units")
    if not np.ptp(volume.array) > 0 and not volume.integral:
        raise Broken(f"{what} has one value everywhere", "look at the sampler and the units")


def _turned_alike(given: np.ndarray, output: np.ndarray) -> bool:
    """Whether along each axis the parts that a flip turns into their negatives go together."""
    for axis in range(3):
        first, second = (x - np.flip(x, axis) for x in (given.astype(float), output.astype(float)))
        if not first.std() * second.std() > 0 or np.corrcoef(first.ravel(), second.ravel())[0, 1] <= ALIKE:
            return False
    return True


def orientation(subject: Subject) -> str:
    """A scan whose axes are stored backwards gives the same values, stored backwards."""
    subject.after(*READY)
    place, stored = subject.folder("orientation"), geometries(subject)["plain"]
    paths = [place / file_name(subject, name) for name in ("a", "b")]
    write_sample(paths[0], subject, stored)
    write_sample(paths[1], subject, stored, mirrored=True)
    plain, turned = outputs(subject, "orientation_out", paths, subject.short(["inference"]))
    for name in plain:
        first, again = (x.astype(float) for x in (plain[name].array, turned[name].array[::-1, ::-1, ::-1]))
        if not np.abs(first - again).max() <= SAME * np.ptp(first):
            raise Broken(f"{name} depends on how the axes are stored", "bring the scan to one orientation before anything else")
    return f"{', '.join(n.split('.')[0] for n in plain)}: the same"


def determinism(subject: Subject) -> str:
    """The same seed gives the same bytes; another seed another posterior draw, where the bundle draws samples."""
    subject.after(*READY)
    settings, known = subject.short(["inference"]), subject.bundle.parameters()
    if "seed" not in known:
        raise Broken("there is no parameter seed", "hand one seed to whatever draws")
    draws = {"samples": 3} if "samples" in known else {}
    path = subject.folder("determinism") / file_name(subject, "scan")
    write_sample(path, subject, geometries(subject)["plain"])
    seeds = {"first": 5, "again": 5, "other": 6}
    runs = {w: outputs(subject, f"determinism_{w}", [path], settings | draws | {"seed": s})[0] for w, s in seeds.items()}
    for name, volume in runs["first"].items():
        if volume.array.tobytes() != runs["again"][name].array.tobytes():
            raise Broken(f"{name} differs between two runs with one seed", "draw from a torch.Generator that the seed starts")
    spread = [name for name in runs["first"] if name.partition(".")[0].endswith("std")]
    if draws and not spread:
        raise Broken("samples=3 writes no std", "write the standard deviation of the draws")
    for name in spread:
        first, other = (runs[which][name].array for which in ("first", "other"))
        if np.array_equal(first, other) or (first < 0).any() or not first.max() > 0:
            raise Broken(f"{name} is the same for another seed, or not a deviation", "give each draw a stream of its own")
    return f"{len(runs['first'])} outputs the same" + (", another seed another std" if spread else "")


def slices(subject: Subject) -> str:
    """A slice does not depend on the slices that are computed with it."""
    subject.after(*READY)
    settings, known = subject.short(["inference"]), subject.bundle.parameters()
    if "slice_batch" not in known:
        raise Skipped("it has no parameter slice_batch: it computes no slices in batches")
    settings |= {"samples": 2} if "samples" in known else {}
    path = subject.folder("slices") / file_name(subject, "scan")
    write_sample(path, subject, stack(subject))
    [complete] = outputs(subject, "slices_whole", [path], settings)
    [single] = outputs(subject, "slices_single", [path], settings | {"slice_batch": 1})
    range_of = np.ptp(next(iter(complete.values())).array)
    pairs = [(name, single[name].array, volume.array) for name, volume in complete.items()]
    if "slices" in known:
        [part] = outputs(subject, "slices_part", [path], settings | {"slices": "2:4", "slice_batch": 2})
        pairs += [(f"{name} of slices 2:4", part[name].array, volume.array[..., 2:4]) for name, volume in complete.items()]
    for name, slice_alone, expected in pairs:
        if slice_alone.shape != expected.shape or not np.abs(slice_alone - expected).max() <= ROUNDING * range_of:
            raise Broken(f"{name} depends on its batch", "seed each slice by its number, and normalise by the whole volume")
    return f"{len(pairs)} comparisons, to {ROUNDING:g} of the range"

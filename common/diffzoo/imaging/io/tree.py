"""One finder for every command: which scans a folder holds, which files are label maps, and whose each scan is.

Known are BIDS, nnU-Net and Decathlon (imagesTr, labelsTr), TotalSegmentator, Neurite-OASIS, and plain trees of any depth.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffzoo.errors import InputError
from diffzoo.imaging.io import dicom
from diffzoo.imaging.io.files import ACCEPTED, KINDS, case_name, check_exists, suffix_of
from diffzoo.imaging.io.naming import BIDS, CHANNEL, before_contrast, image_folder, label_base, session, subject_of

PASSED_OVER = ("derivatives", "sourcedata", "code", "dwi", "func", "fmap", "perf", "eeg", "meg")  # of a BIDS tree
RESULTS = {"report.json", "metrics.json", "look.json", "audit.json", "train_log.jsonl"}  # one marks a folder that a command wrote


class Tree(NamedTuple):
    """What a folder holds: scans, and label maps by the stem of the scan that each belongs to."""

    scans: list[Path]
    labels: dict[Path, str]


def find_cases(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Cases in files and folders, in order: files as they are named, of folders the scans (`tree_of`).

    A folder that holds label maps alone gives those. Raises InputError for a missing path and where nothing is found.
    """
    cases: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        entries = _cases_at(Path(path))
        if not entries:
            raise InputError(f"{path}: no image found; accepted are {ACCEPTED}")
        cases += entries
    if not cases:
        raise InputError(f"no input given: pass {ACCEPTED}")
    return list(dict.fromkeys(cases))


def label_maps(paths: Sequence[str | Path]) -> list[Path]:
    """Label maps that `find_cases` passes over in folders which hold scans too."""
    trees = [tree_of(Path(path)) for path in paths if Path(path).is_dir()]
    return [label for tree in trees if tree.scans for label in tree.labels]


def _cases_at(path: Path) -> list[Path]:
    dicom.check_link(path)
    check_exists(path)
    if path.is_file():
        return [path] if suffix_of(path) or dicom.is_dicom(path) else []
    paths = tree_of(path)
    return paths.scans or list(paths.labels)


def tree_of(folder: Path, raw: bool = True) -> Tree:
    """Scans and label maps at any depth: image files, folders with a DICOM series, and (`raw`) files of raw data.

    A label map is told by its name or its folder. Of a BIDS tree scans are those of its subjects, label maps all. Results of a
    run or a training in a folder below are passed over. Raises InputError for an image's name that links to nothing, for a link
    to nothing where there is no image, and for a folder that cannot be listed.
    """
    paths = [path for path in _files(folder, set()) if raw or suffix_of(path) in KINDS or path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    bases = {path: label_base(path.relative_to(folder), case_name(path)) for path in files}
    labels = {path: base for path, base in bases.items() if base is not None}
    bids = any(path.is_dir() and BIDS.fullmatch(path.name) for path in _inside(folder))
    scans = [path for path in paths if path not in labels and not (bids and _beside_subjects(path.relative_to(folder)))]
    return Tree(scans, labels)


def _beside_subjects(path: Path) -> bool:
    """Whether a path of a BIDS tree is of no subject, or no anatomy."""
    folders = path.parts[:-1]
    return bool(folders) and (not BIDS.fullmatch(folders[0]) or any(part in PASSED_OVER for part in folders))


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}): give a folder that may be read") from error


def _files(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Files with an image's suffix and folders of a series, files of a folder before those below it."""
    place = folder.resolve()
    if place in seen:  # links that lead back
        return
    seen.add(place)
    inside = _inside(folder)
    for path in (path for path in inside if suffix_of(path)):
        dicom.check_link(path)
    if dicom.has_dicom(folder):
        yield folder
        return
    images = [path for path in inside if suffix_of(path) and path.is_file()]
    if not images:
        for path in inside:
            dicom.check_link(path)
    yield from images
    for path in inside:
        if path.is_dir() and not any((path / name).is_file() for name in RESULTS):
            yield from _files(path, seen)


def owners(scans: Sequence[Path], folder: Path, pattern: str | None = None) -> list[str]:
    """Whose each scan of a folder is: by `pattern`, by the patient's ID in DICOM, by its name (`naming.subject_of`).

    Where several scans have one name, the folders that tell them apart name the subject, and of all else in them; folders of
    sessions and of images (`ses-1`, `imagesTr`) do not.
    """
    names = [path.relative_to(folder) for path in scans]
    patients = [None if pattern else patient(path) for path in scans]
    people = [
        known or subject_of(name, case_name(path), pattern) for known, name, path in zip(patients, names, scans, strict=True)
    ]
    if pattern is not None:
        return people
    free = [k for k, name in enumerate(names) if patients[k] is None and not BIDS.search(name.as_posix())]
    places: dict[Path, str] = {}
    by_stem: dict[str, list[int]] = {}
    for k in free:
        by_stem.setdefault(case_name(scans[k]), []).append(k)
    for group in by_stem.values():
        for k in group if len(group) > 1 else []:
            places |= _place(names[k], [names[other] for other in group])
    for k in free:
        above = [place for place in names[k].parents if place in places]
        people[k] = places[above[0]] if above else people[k]
    return people


def _place(name: Path, group: Sequence[Path]) -> dict[Path, str]:
    """The folder that names the subject of a scan, and that subject: of its folders those that tell it apart from a group."""
    shared = set(group[0].parts[:-1]).intersection(*(other.parts[:-1] for other in group[1:]))
    parts = name.parts[:-1]
    kept = [k for k, part in enumerate(parts) if part not in shared and not session(part) and not image_folder(part)]
    return {Path(*parts[: kept[-1] + 1]): "/".join(parts[k] for k in kept)} if kept else {}


def patient(path: Path) -> str | None:
    """The patient's ID of a DICOM series or file; None for any other."""
    if path.is_dir():
        path = next((p for p in sorted(path.iterdir()) if dicom.is_dicom(p)), path)
    elif suffix_of(path) in KINDS:
        return None
    return dicom.patient_of(path) if dicom.is_dicom(path) else None


def partners(scans: Sequence[Path], labels: Mapping[Path, str]) -> dict[Path, Path]:
    """The label map of each scan that has one: of its own name before one of its subject's, beside it before one elsewhere.

    Raises InputError where a scan has two.
    """
    matches = {}
    stems = [case_name(scan) for scan in scans]
    for scan, stem in zip(scans, stems, strict=True):
        alone = stems.count(stem) == 1
        for base in (stem, before_contrast(stem), CHANNEL.sub("", stem)):
            same = [path for path, owner in labels.items() if owner == base]
            near = [path for path in same if path.parent == scan.parent]
            chosen = near or (same if alone and base else [])
            if len(chosen) > 1:
                raise InputError(f"{scan.name} has {len(chosen)} masks: {chosen[0].name}, {chosen[1].name}: keep one")
            if chosen:
                matches[scan] = chosen[0].resolve()
                break
    return matches

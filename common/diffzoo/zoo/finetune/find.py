"""The scans of a fine-tuning: from a datalist, a BIDS tree, or a folder of images and DICOM series, with subject and mask."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.imaging.io.dicom import has_dicom, is_dicom, patient_of
from diffzoo.imaging.io.files import ACCEPTED, KINDS, case_name, suffix_of
from diffzoo.training.datalist import PARTS, entries
from diffzoo.zoo.finetune.naming import BIDS, CHANNEL, before_contrast, in_label_folder, mask_base, subject_of

PASSED_OVER = ("derivatives", "sourcedata", "code", "dwi", "func", "fmap", "perf", "eeg", "meg")  # of a BIDS tree
LISTED = "datalist.json"


@dataclass(frozen=True)
class Scan:
    """A scan: its path, its name for people, its subject, the list that a datalist puts it in, and more keys of its entry."""

    image: Path
    name: str
    subject: str
    part: str | None = None
    more: Mapping = field(default_factory=dict)

    @property
    def entry(self) -> dict:
        """The entry of a datalist, with absolute paths."""
        return {"image": str(self.image), "subject": self.subject, **self.more}


def find_scans(data: str | Path, truth: str | None = None, pattern: str | None = None) -> list[Scan]:
    """Scans of a datalist JSON, of a folder with a datalist.json, of a BIDS tree, or of any other folder with its subfolders.

    truth: the key ("mask" or "label") of what goes with a scan, where the bundle takes one. In folders it is `X_mask`,
    `X_lesion`, `X_label`, `X_seg` or `X_roi` (any image suffix) for the scan `X`, or for `X` less its contrast; beside the scan,
    or anywhere in the tree (BIDS: derivatives) where one alone has that name. Subjects are told by names (`naming.subject_of`),
    by the patient's ID in DICOM, or by "subject" in a datalist. Raises InputError where nothing is found, and for a bad pattern.
    """
    data = Path(data)
    _check_pattern(pattern)
    listing = data / LISTED if data.is_dir() else data
    if listing.suffix == ".json" and listing.is_file():
        return _listed(listing, pattern)
    if not data.exists():
        raise InputError(f"{data}: no such file or folder: give a datalist, a folder of scans, or a BIDS tree")
    if not data.is_dir():
        raise InputError(f"{data}: fine-tuning needs several scans: give a datalist (.json) or a folder")
    files = list(_images(data))
    masks = {path: base for path in _masks(data) if (base := _base_of(path, data)) is not None}
    images = [path for path in files if path not in masks]
    if not images:
        raise InputError(f"{data}: no scan found; taken are {ACCEPTED}, in folders or a BIDS tree")
    names = [path.relative_to(data) for path in images]
    beside = _partners(images, masks) if truth else {}
    return [
        Scan(
            path.resolve(),
            name.as_posix(),
            subject,
            None,
            {truth: str(beside[path])} if path in beside else {},
        )
        for path, name, subject in zip(images, names, _subjects(images, names, pattern), strict=True)
    ]


def _base_of(path: Path, data: Path) -> str | None:
    """The stem that a mask belongs to; in a folder of label maps every file is one. None for what is none."""
    base = mask_base(case_name(path))
    return case_name(path) if base is None and in_label_folder(path.relative_to(data)) else base


def _subjects(images: Sequence[Path], names: Sequence[Path], pattern: str | None) -> list[str]:
    """Whose each scan is; where several have one name, the folder that tells them apart is whose."""
    subjects = [_subject(path, name, pattern) for path, name in zip(images, names, strict=True)]
    stems = [case_name(path) for path in images]
    if pattern is not None:
        return subjects
    for stem in {stem for stem in stems if stems.count(stem) > 1}:
        group = [k for k, other in enumerate(stems) if other == stem]
        told = {subjects[k] for k in group}
        folders = [next((part for part in reversed(names[k].parts[:-1]) if _tells(part, names, group)), "") for k in group]
        if len(told) == 1 and len(set(folders)) > 1:
            for k, folder in zip(group, folders, strict=True):
                subjects[k] = folder
    return subjects


def _tells(part: str, names: Sequence[Path], group: Sequence[int]) -> bool:
    """Whether a folder's name is not in the paths of all scans of a group."""
    return not all(part in names[k].parts[:-1] for k in group)


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise InputError(f"--subject-pattern {pattern!r} is no regular expression: {error}") from error


def _listed(listing: Path, pattern: str | None) -> list[Scan]:
    try:
        lists = json.loads(listing.read_text())
        parts = [part for part in PARTS if lists.get(part)]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{listing.name} is no datalist with training, validation or test lists: {error}") from error
    if not parts:
        raise InputError(f"{listing.name} has none of the lists {', '.join(PARTS)}, or they are empty")
    found = []
    for part in parts:
        for entry in entries(str(listing), part):
            path = Path(entry["image"])
            name = Path(os.path.relpath(path, listing.parent.resolve()))
            more = {key: value for key, value in entry.items() if key not in ("image", "subject")}
            subject = str(entry["subject"]) if "subject" in entry else _subject(path, name, pattern)
            found.append(Scan(path, name.as_posix(), subject, part, more))
    return found


def _images(folder: Path) -> Iterator[Path]:
    """Image files, and folders with a DICOM series, at any depth; of a BIDS tree those of its subjects."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if has_dicom(folder):
        yield folder
        return
    yield from (path for path in inside if path.is_file() and suffix_of(path) in KINDS)
    bids = any(path.is_dir() and BIDS.fullmatch(path.name) for path in inside)
    for path in inside:
        if path.is_dir() and path.name not in PASSED_OVER and (not bids or BIDS.fullmatch(path.name)):
            yield from _images(path)


def _masks(folder: Path) -> Iterator[Path]:
    """Image files at any depth, wherever they are."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if suffix_of(name) in KINDS and not name.startswith("."))


def _partners(images: Sequence[Path], masks: Mapping[Path, str]) -> dict[Path, Path]:
    """The mask of each scan that has one: of its own name before one of its subject's, beside it before one elsewhere."""
    found = {}
    for image in images:
        stem = case_name(image)
        alone = sum(case_name(other) == stem for other in images) == 1
        for base in (stem, before_contrast(stem), CHANNEL.sub("", stem)):
            same = [path for path, told in masks.items() if told == base]
            near = [path for path in same if path.parent == image.parent]
            chosen = near or (same if alone and base else [])
            if len(chosen) > 1:
                raise InputError(f"{image.name} has {len(chosen)} masks: {chosen[0].name}, {chosen[1].name}: keep one")
            if chosen:
                found[image] = chosen[0].resolve()
                break
    return found


def _subject(path: Path, name: Path, pattern: str | None) -> str:
    told = _patient(path) if pattern is None else None
    return told or subject_of(name, case_name(path), pattern)


def _patient(path: Path) -> str | None:
    """The patient's ID of a DICOM series, which stays outside the bundle."""
    file = next((p for p in sorted(path.iterdir()) if is_dicom(p)), None) if path.is_dir() else None if suffix_of(path) else path
    return patient_of(file) if file is not None and is_dicom(file) else None

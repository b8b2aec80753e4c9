"""The scans of a fine-tuning: from a datalist, a BIDS tree, or a folder of images and DICOM series, with subject and mask."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import ACCEPTED, case_name
from diffzoo.imaging.io.naming import subject_of
from diffzoo.imaging.io.tree import owners, partners, patient, tree_of
from diffzoo.training.datalist import PARTS, entries

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
    or anywhere in the tree (BIDS: derivatives) where one alone has that name. Subjects are told by names (`imaging.io.tree`), by
    the patient's ID in DICOM, or by "subject" in a datalist. Raises InputError where nothing is found, and for a bad pattern.
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
    tree = tree_of(data, raw=False)
    if not tree.scans:
        raise InputError(f"{data}: no scan found; taken are {ACCEPTED}, in folders or a BIDS tree")
    beside = partners(tree.scans, tree.labels) if truth else {}
    return [
        Scan(
            path.resolve(), path.relative_to(data).as_posix(), subject, None, {truth: str(beside[path])} if path in beside else {}
        )
        for path, subject in zip(tree.scans, owners(tree.scans, data, pattern), strict=True)
    ]


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise InputError(f"--subject-pattern {pattern!r} is no regular expression: {error}") from error


def _listed(listing: Path, pattern: str | None) -> list[Scan]:
    try:
        lists = json.loads(listing.read_text(encoding="utf-8"))
        parts = [part for part in PARTS if lists.get(part)]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{listing.name} is no datalist with training, validation or test lists: {error}") from error
    if not parts:
        raise InputError(f"{listing.name} has none of the lists {', '.join(PARTS)}, or they are empty")
    scans = []
    for part in parts:
        for entry in entries(str(listing), part):
            path = Path(entry["image"])
            name = Path(os.path.relpath(path, listing.parent.resolve()))
            more = {key: value for key, value in entry.items() if key not in ("image", "subject")}
            subject = str(entry["subject"]) if "subject" in entry else _subject(path, name, pattern)
            scans.append(Scan(path, name.as_posix(), subject, part, more))
    return scans


def _subject(path: Path, name: Path, pattern: str | None) -> str:
    identity = patient(path) if pattern is None else None
    return identity or subject_of(name, case_name(path), pattern)

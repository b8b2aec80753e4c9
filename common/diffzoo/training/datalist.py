"""Which files a training or an evaluation uses: a MONAI datalist, or whatever a folder holds."""

import json
from collections.abc import Mapping
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.imaging.io.tree import find_cases, owners, partners, tree_of

PARTS = ("training", "validation", "test")
# images of one person, each under the name of what it is
ROLES = ("t1", "t1post", "t2", "flair", "ct", "cbct", "pet", "fullpet")
# keys of an entry that name files
PATHS = ("image", "mask", "label", "moving", "moving_label", "borrowed", "template", "reference", *ROLES)


def files(dataset_dir: str, part: str) -> list[str]:
    """Paths of one part: those a `datalist.json` names, else every tenth of the folder's cases as validation."""
    return [entry["image"] for entry in entries(dataset_dir, part)]


def entries(source: str, part: str, least: int = 1, truth: str | None = None) -> list[dict]:
    """Datalist entries (with absolute paths) of one part of a datalist JSON, of a folder with a `datalist.json`, or of a folder.

    A folder without a list is split by subject in order of name: every tenth (at least `least`) is validation, the others are
    training; as test it counts whole, and each case has its label map as `truth` where there is one; a list may have further
    parts. Raises InputError for an unknown part, a malformed list, a missing file, or no case at all.
    """
    path = Path(source)
    listing = path / "datalist.json" if path.is_dir() else path
    if listing.suffix == ".json":
        if listing.is_file():
            return _read(listing, part)
        if not path.is_dir():
            raise InputError(f"no datalist {path}")
    if part not in PARTS:
        raise InputError(f"unknown part {part!r} of a folder; known: {', '.join(PARTS)}")
    cases = _of_folder(path, truth) if path.is_dir() else [{"image": str(case)} for case in find_cases([source])]
    if part == "test":
        return cases
    people = list(dict.fromkeys(case.get("subject") for case in cases))
    validation = people[:: max(1, min(10, len(people) // least))] if len(people) > least else people
    chosen = [case for case in cases if (case.get("subject") in validation) == (part == "validation")]
    return chosen or cases


def _of_folder(folder: Path, truth: str | None) -> list[dict]:
    """The cases of a folder with their subjects, and their label maps as `truth`."""
    cases = find_cases([folder])
    labels = partners(cases, tree_of(folder).labels) if truth else {}
    return [
        {"image": str(path), "subject": subject, **({truth: str(labels[path])} if path in labels else {})}
        for path, subject in zip(cases, owners(cases, folder), strict=True)
    ]


def placed(folder: Path, entry: Mapping) -> dict:
    """An entry whose paths are as seen from a folder; a label may also be a number, which stays."""

    def seen(value):
        if isinstance(value, list):
            return [seen(item) for item in value]
        return str((folder / value).resolve()) if isinstance(value, str) else value

    return {key: seen(value) if key in PATHS else value for key, value in entry.items()}


def named(entry: Mapping) -> list[str]:
    """Paths of all files that an entry names."""
    values = [entry.get(key) for key in PATHS]
    return [path for value in values for path in (value if isinstance(value, list) else [value]) if isinstance(path, str)]


def _read(listing: Path, part: str) -> list[dict]:
    try:
        parts = json.loads(listing.read_text(encoding="utf-8"))
        chosen = [entry if isinstance(entry, dict) else {"image": entry} for entry in parts[part]]
        chosen = [placed(listing.parent.resolve(), entry) for entry in chosen]
        missing = [path for entry in chosen for path in named(entry) if not Path(path).exists()]
        without = [entry for entry in chosen if not isinstance(entry.get("image"), str)]
        if without:
            raise KeyError("image")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{listing.name} is not a datalist with a {part!r} list of {{'image': path}}: {error!r}") from error
    if missing:
        raise InputError(f"{listing.name} names {len(missing)} files that are not there, first {missing[0]}")
    if not chosen:
        raise InputError(f"{listing.name}: the {part!r} list is empty")
    return chosen

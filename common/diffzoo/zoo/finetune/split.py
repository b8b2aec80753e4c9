"""Which scans a fine-tuning trains on, chooses by and reports on: whole subjects, drawn by a seed."""

import random
from collections.abc import Collection, Mapping, Sequence

from diffzoo.errors import InputError
from diffzoo.training.datalist import PARTS
from diffzoo.zoo.finetune.find import Scan

SHARE = 0.15  # of the subjects, for validation and for test each
Lists = Mapping[str, Sequence[Scan]]


def split(scans: Sequence[Scan], seed: int, least: int = 1, seen: Collection[str] = ()) -> dict[str, list[Scan]]:
    """Lists training, validation and test of scans: those of a datalist that has more than a training list, else by subject.

    15 % of the subjects (at least `least`) are validation, as many are test. Subjects that are `seen`, which the parent was
    trained on, go to training. Same seed and subjects: same split. Raises InputError for too few scans or subjects.
    """
    if any(scan.part in PARTS[1:] for scan in scans):
        return _given(scans)
    subjects = sorted({scan.subject for scan in scans})
    if len(scans) == 1:
        raise InputError("one scan only: give scans of 3 subjects or more, or a datalist that names its three lists itself")
    if len(subjects) < 3 * least:
        what = f"{len(scans)} scans of {len(subjects)} subject{'s'[: len(subjects) != 1]}: at least {3 * least} are needed"
        remedy = "name the lists in a datalist, or tell subjects apart with --subject-pattern"
        raise InputError(f"{what} to train, choose and test on different ones: {remedy}")
    random.Random(seed).shuffle(subjects)
    subjects.sort(key=lambda subject: subject in seen)  # those last, a stable sort
    count = max(least, round(SHARE * len(subjects)))
    taken = {"test": subjects[:count], "validation": subjects[count : 2 * count], "training": subjects[2 * count :]}
    if late := [subject for part in PARTS[1:] for subject in taken[part] if subject in seen]:
        raise InputError(f"the parent was trained on {len(late)} of the subjects that would test it: add subjects that are new")
    return {part: [scan for scan in scans if scan.subject in taken[part]] for part in PARTS}


def _given(scans: Sequence[Scan]) -> dict[str, list[Scan]]:
    lists = {part: [scan for scan in scans if scan.part == part] for part in PARTS}
    lacking = [part for part in PARTS[:2] if not lists[part]]
    if lacking:
        raise InputError(f"no scan that can be used is in the {lacking[0]} list: name scans there, or name a training list alone")
    return lists


def shared(lists: Lists) -> list[str]:
    """Subjects that are in more than one list, which flatters what is measured."""
    owners: dict[str, set[str]] = {}
    for part, scans in lists.items():
        for scan in scans:
            owners.setdefault(scan.subject, set()).add(part)
    return sorted(subject for subject, parts in owners.items() if len(parts) > 1)


def pseudonyms(lists: Lists) -> dict[str, str]:
    """A word for each subject, such as "s01", in the order of the lists."""
    subjects = list(dict.fromkeys(scan.subject for scans in lists.values() for scan in scans))
    return {subject: f"s{k:0{len(str(max(10, len(subjects))))}}" for k, subject in enumerate(subjects, 1)}

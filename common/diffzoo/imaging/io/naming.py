"""Name rules of folders of scans: whose scan a file is, what it shows, and which file is a label map. Light."""

import re
from pathlib import Path

from diffzoo.errors import InputError

MARKS = "_-. "
KINDS = {  # what a scan shows, by words that stand alone in its name
    "T1": r"t1(w|c|ce|gd|post|map)?|mprage|mp2rage|spgr|bravo",
    "FLAIR": r"(t2[-_]?)?flair",
    "T2*": r"t2(s|star)|swi|gre",
    "T2": r"t2(w|map)?",
    "PD": r"pd(w)?",
    "diffusion": r"dwi|adc|dti",
    "MT": r"mt[01]?",
    "CT": r"ct|cta|cbct",
    "PET": r"pet",
}
WORD = {kind: re.compile(rf"(?<![a-z0-9])({words})(?![a-z0-9])") for kind, words in KINDS.items()}
NOT_MR = ("CT", "PET")
LABEL = r"masks?|lesions?|labels?|[ad]?seg\d*|segmentations?|roi|gt|ground[-_]?truth|parc(ellation)?|aparc.*"
MASK = re.compile(rf"(?P<base>.*?)[_-]?((label|desc)-[a-z0-9]+[_-])?({LABEL})", re.IGNORECASE)
NUMBERED = re.compile(r"(masks?|labels?|seg|segmentations?|gt)[-_]?\d+", re.IGNORECASE)  # segmentation-0 of LiTS
BIDS = re.compile(r"sub-[A-Za-z0-9]+")
LABEL_FOLDERS = re.compile(
    r"labels?(tr|ts|val)?|segmentations?|segs?|masks?|annotations?|ground[-_]?truths?", re.IGNORECASE
)  # nnU-Net, Decathlon, TotalSegmentator
IMAGE_FOLDERS = re.compile(r"im(age|g)s?(tr|ts|val)?|train(ing)?|test(ing)?|val(idation)?|anat|nifti|dicom", re.IGNORECASE)
WHEN = r"ses(sion)?|visit|time(point)?|tp|scan|exam|study|baseline|follow[-_]?up|month|week|year|day"
SESSIONS = re.compile(rf"({WHEN})[-_]?\w?\d{{0,3}}|\d{{4}}-?\d\d-?\d\d", re.IGNORECASE)
CHANNEL = re.compile(r"_\d{4}$")  # that nnU-Net puts behind the name of an image


def contrast_of(name: str) -> str | None:
    """What a scan shows by the first such word of its name: "T1", "FLAIR", ..., "CT"; None where the name does not tell."""
    match = _first_word(name)
    return match[1] if match else None


def _first_word(name: str) -> tuple[int, str] | None:
    places = [
        (match.start(), order, kind) for order, (kind, word) in enumerate(WORD.items()) if (match := word.search(name.lower()))
    ]
    return (min(places)[0], min(places)[2]) if places else None


def modality_of(name: str) -> str | None:
    """Either "MR", "CT" or "PET" as a name tells it, else None."""
    kind = contrast_of(name)
    return kind if kind in NOT_MR or kind is None else "MR"


def before_contrast(stem: str) -> str:
    """A stem without its contrast and all that follows it: "ms_l09" of "ms_l09_flair_brain"; the stem where it tells none."""
    match = _first_word(stem)
    return stem[: match[0]].rstrip(MARKS) if match else stem


def subject_of(path: Path, stem: str, pattern: str | None = None) -> str:
    """Whose scan it is: path relative to the data folder, stem of its name.

    By `pattern`, a regular expression searched in the path (its first group, else all of it), where one is given. Else by the
    first rule that fits: "sub-X" anywhere in the path (BIDS); the stem without its channel in a folder of nnU-Net; the stem
    before its contrast ("ms_l09" of "ms_l09_flair"), or where nothing is before it the last folder that is not one of a session
    or of images; the stem up to the end of its first number ("case_01" of "case_01_b"); the stem. Raises InputError where the
    pattern does not fit.
    """
    if pattern is not None:
        match = re.search(pattern, path.as_posix())
        if match is None:
            raise InputError(f"--subject-pattern {pattern!r} does not fit {path.as_posix()}: it must fit every scan")
        return match[1] if match.re.groups and match[1] else match[0]
    if match := BIDS.search(path.as_posix()):
        return match[0]
    if image_folder(path.parent.name) and CHANNEL.search(stem):
        return CHANNEL.sub("", stem)
    if _first_word(stem):
        persons = [part for part in path.parts[:-1] if not session(part) and not image_folder(part)]
        return before_contrast(stem) or (persons or [stem])[-1]
    match = re.match(r"\D*\d+", stem)
    return match[0] if match else stem


def image_folder(part: str) -> bool:
    """Whether a folder's name, such as imagesTr or anat, says that it holds images, of whomever."""
    return IMAGE_FOLDERS.fullmatch(part) is not None


def session(part: str) -> bool:
    """Whether a folder's name tells when a scan was made, such as ses-2, visit1, baseline or 2024-05-31."""
    return SESSIONS.fullmatch(part) is not None


def label_base(path: Path, stem: str) -> str | None:
    """The stem of the scan that a label map belongs to ("case_01" of "case_01_lesion"); None for what is none by its name.

    path: relative to the data folder; in a folder of label maps, such as labelsTr or segmentations, every file is one.
    """
    base = mask_base(stem)
    inside = any(LABEL_FOLDERS.fullmatch(part) for part in path.parts[:-1])
    return stem if base is None and inside else base


def mask_base(stem: str) -> str | None:
    """The stem that a mask belongs to ("case_01" of "case_01_lesion" or "case_01_label-tumour_mask"); None for no mask's name."""
    if NUMBERED.fullmatch(stem):
        return ""
    match = MASK.fullmatch(stem)
    return match["base"].rstrip(MARKS) if match else None

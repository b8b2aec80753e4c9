"""Inputs as a list of cases, each with the name of its outputs."""

from collections.abc import Sequence
from pathlib import Path

from diffzoo.imaging.files import case_names, find_cases


def cases_at(path: str | Path | Sequence[str | Path]) -> list[dict[str, str]]:
    """[{"image": path, "case": name}] for a file, a DICOM folder, a folder of these, or several; InputError where there is none."""
    paths = find_cases(path)
    return [{"image": str(p), "case": name} for p, name in zip(paths, case_names(paths), strict=True)]

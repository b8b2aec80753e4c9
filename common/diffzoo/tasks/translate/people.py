"""The people of a training: those of a list, or of a folder whose images are joined by their names."""

from collections.abc import Sequence
from pathlib import Path

from diffzoo.tasks.translate.roles import role_cases
from diffzoo.training.datalist import entries

TENTH = 10


def people(source: str, part: str, roles: Sequence[str]) -> list[dict]:
    """Cases of one part (training, validation) of a datalist or of a folder, as `roles.role_cases`.

    A folder without a datalist.json is split by person and not by image: every tenth one, at least one, is validation; one
    person alone is both. Raises InputError as `training.datalist.entries`.
    """
    path = Path(source)
    if not path.is_dir() or (path / "datalist.json").is_file():
        return role_cases(entries(source, part), roles)
    cases = role_cases(entries(source, "test"), roles)
    validation = cases[:: min(TENTH, len(cases))] if len(cases) > 1 else cases
    return validation if part == "validation" else [case for case in cases if case not in validation] or cases

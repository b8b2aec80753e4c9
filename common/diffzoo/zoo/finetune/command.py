"""`diffzoo finetune`: from a folder of scans to a new bundle, told line by line."""

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import installed
from diffzoo.zoo.finetune.choices import Choices, resumed
from diffzoo.zoo.finetune.request import PLAN, Request, Say, checked_parent, checked_settings
from diffzoo.zoo.versions import NAME

LONGEST = 40  # characters of a name
FULL = ("No space left on device", "PytorchStreamWriter failed")  # of libraries that tell no number


def finetune(
    name: str,
    data: str | Path,
    output: str | Path,
    options: Mapping | None = None,
    settings: list[str] | None = None,
    pattern: str | None = None,
    check_only: bool = False,
    resume: bool = False,
    device: str = "auto",
    trust: bool = False,
    say: Say = lambda line: None,
) -> Path | None:
    """Fine-tunes a bundle on scans, and returns the folder of the new bundle; with `check_only` looks at them alone.

    options: those of `Choices` by name; settings: "key=value" parameters of train.yaml; pattern: tells subjects apart. Beside
    the new bundle a folder NAME_work keeps lists, checkpoints, look.json and contact_sheet.png; `resume` goes on with it. Raises
    InputError, with no bundle written, for what does not fit.
    """
    given, parent = {key: value for key, value in (options or {}).items() if value is not None}, checked_parent(name, trust)
    values = checked_settings(parent, settings)
    request = Request(parent, Path(data), Path(output).absolute(), device, trust)
    choices = Choices(**given, settings=values)
    _check_place(request, resume, check_only)
    with _told_of_disks(request):
        stored = _stored(request) if resume else None
        from diffzoo.zoo.finetune.work import go_on, look, plan

        if stored is not None:
            choices = resumed(stored["choices"], given | {"settings": values})
        else:
            seen = look(request, pattern, say)
            if check_only:
                return None
            stored = plan(request, choices, seen, say)
        bundle = go_on(request, choices, stored, say)
        _check_free(request.place)
        os.rename(bundle, request.place)
    say(f"{request.place}: `diffzoo verify {request.place}` checks it, `diffzoo run {request.place} -i SCAN -o OUT` runs it")
    return request.place


def _check_place(request: Request, resume: bool, check_only: bool) -> None:
    place = request.place
    if not NAME.fullmatch(place.name) or len(place.name) > LONGEST:
        raise InputError(f"-o: {place.name!r} is no name for a bundle: use a-z, 0-9 and _, a letter first, {LONGEST} at most")
    _check_free(place)
    if taken := next((bundle for bundle in installed() if bundle.name == place.name), None):
        raise InputError(f"there is a bundle {place.name} already ({taken.root}): choose another name")
    above = next(p for p in place.parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{place} cannot be made: {above} is not a folder that can be written to")
    there = (request.work / PLAN).is_file()
    if resume and not there:
        raise InputError(f"nothing to resume: {request.work} holds no plan of an interrupted run")
    if there and not (resume or check_only):
        raise InputError(f"{request.work} is from an interrupted run: give --resume to go on with it, or delete it")


def _check_free(place: Path) -> None:
    if os.path.lexists(place):
        raise InputError(f"{place} is there already: choose another name with -o")


@contextmanager
def _told_of_disks(request: Request) -> Iterator[None]:
    """A full disk, or one that cannot be written, in one line, however deep a library wrapped it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if _is(error, (errno.ENOSPC, errno.EDQUOT), FULL):
            remedy = "free some space" + (", then --resume" if (request.work / PLAN).is_file() else ", then start again")
            raise InputError(f"the disk is full, and no bundle was written: {remedy}") from error
        if _is(error, (errno.EACCES, errno.EPERM, errno.EROFS), ()):
            raise InputError(f"{request.place.parent} cannot be written: choose another folder") from error
        raise


def _is(error: BaseException | None, numbers: Sequence[int], words: Sequence[str]) -> bool:
    """Whether an error, or one that it came from, has one of these numbers or says one of these words."""
    while error is not None:
        if getattr(error, "errno", None) in numbers or any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False


def _stored(request: Request) -> dict:
    """The plan of an interrupted run, of the same parent."""
    path = request.work / PLAN
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        weights = stored["parent"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}): delete {request.work} and start again") from error
    if weights != request.parent.metadata["weights_sha256"]:
        raise InputError(
            f"{request.work} is of another parent than {request.parent.name} as it is now: delete it and start again"
        )
    return stored

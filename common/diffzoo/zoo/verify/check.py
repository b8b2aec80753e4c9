"""What verification says: one line about one promise of a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffzoo.errors import InputError
from diffzoo.zoo.session import quiet_monai, unwrapped

SHOWN = 3  # problems of one check that are told in full
LONGEST = 240


@dataclass(frozen=True)
class Check:
    """One promise: its name, whether it is kept (None: skipped, `detail` tells why), what was found, and what to do about it."""

    name: str
    passed: bool | None
    detail: str
    remedy: str = ""


class Broken(Exception):
    """A promise that is not kept: what was found, and what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class Skipped(Exception):
    """Why a promise was not looked at."""


def refuse(problems: Sequence[str], remedy: str) -> None:
    """Raises Broken with the first problems, if there are any."""
    if problems:
        more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
        raise Broken("; ".join(problems[:SHOWN]) + more, remedy)


def name_of(check: Callable) -> str:
    """The name of a check: that of its function, in words."""
    return check.__name__.replace("_", " ")


def kept(check: Callable, subject) -> Check:
    """Runs one check; whatever a broken bundle makes it raise is a broken promise, told in one line."""
    name = name_of(check)
    try:
        with quiet_monai(), unwrapped():
            outcome = Check(name, True, check(subject))
    except Skipped as reason:
        outcome = Check(name, None, str(reason))
    except Broken as broken:
        outcome = Check(name, False, _line(broken.what), broken.remedy)
    except InputError as error:
        outcome = Check(name, False, _line(str(error)), "mend what the line names, then verify again")
    except Exception as error:
        outcome = Check(name, False, _line(f"{type(error).__name__}: {_root(error)}"), "--debug shows where it was raised")
        subject.note(error)
    subject.results[name] = outcome.passed
    return outcome


def _root(error: BaseException) -> str:
    """The message of what lies under an error: MONAI's config system wraps it several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{error}"


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."

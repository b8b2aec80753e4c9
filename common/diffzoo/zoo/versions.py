"""Semantic versions, and installed versions side by side. Light: no torch is imported here."""

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from diffzoo.errors import InputError

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
NUMBER = r"(?:0|[1-9][0-9]{0,8})"
SEMANTIC = re.compile(rf"({NUMBER})\.({NUMBER})\.({NUMBER})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?")


def order(version: str) -> tuple:
    """A key that sorts versions as Semantic Versioning 2.0.0 (section 11) does: 0.9.0 < 0.10.0-rc.1 < 0.10.0.

    Build metadata ("1.0.0+a") is refused: it has no order, so two contents could share one place. Raises InputError for what is
    no semantic version.
    """
    match = SEMANTIC.fullmatch(version) if isinstance(version, str) and len(version) <= 64 else None
    words = (match[4] or "").split(".") if match else []
    if match is None or any(word.isdigit() and len(word) > 1 and word[0] == "0" for word in words):
        raise InputError(f"{version!r} is no semantic version: write MAJOR.MINOR.PATCH, such as 0.2.0 or 1.0.0-rc.1")
    release = (int(match[1]), int(match[2]), int(match[3]))
    if not match[4]:
        return (*release, 1, ())
    return (*release, 0, tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in words))


def is_version(text: str) -> bool:
    """Whether text is a semantic version."""
    try:
        order(text)
    except InputError:
        return False
    return True


def newest(versions: Iterable[str]) -> str:
    """The newest release, or the newest pre-release where there is no release; InputError for none and for invalid ones."""
    ranked = sorted(versions, key=order)
    if not ranked:
        raise InputError("no version to choose from")
    return next((version for version in reversed(ranked) if "-" not in version), ranked[-1])


def split(wanted: str) -> tuple[str, str | None]:
    """Name and version of "name" or "name==version"; InputError for another form."""
    name, equals, version = wanted.partition("==")
    check_name(name)
    if equals:
        order(version)
    return name, version if equals else None


def check_name(name: str) -> str:
    """The name of a bundle, returned; InputError for one with capitals, path parts or anything but a-z, 0-9 and _."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no bundle name: use a-z, 0-9 and _, a letter first, 64 at most")
    return name


def at_least(have: str, need: str) -> bool:
    """Whether a package version such as "2.13.0+cpu" is `need` or later, by its release numbers alone."""
    numbers = [re.match(r"[0-9]+(?:\.[0-9]+)*", version) for version in (have, need)]
    if not all(numbers):
        return False
    mine, asked = (tuple(int(n) for n in parts[0].split(".")) for parts in numbers)
    width = max(len(mine), len(asked))
    return mine + (0,) * (width - len(mine)) >= asked + (0,) * (width - len(asked))


def home_folder(home: str | Path | None = None) -> Path:
    """Where bundles are installed: the argument, else DIFFZOO_HOME, else ~/.cache/diffzoo.

    A user without a home (docker --user) has a folder of their own among the temporary ones.
    """
    if given := home or os.environ.get("DIFFZOO_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "diffzoo"
    except (RuntimeError, KeyError):  # no HOME, and no entry in the passwd file
        return Path(tempfile.gettempdir()) / f"diffzoo-{os.getuid()}"


def versions_at(shelf: Path) -> dict[str, Path]:
    """Bundle roots by version, oldest first, in a folder NAME that holds VERSION/NAME; empty for any other folder."""
    if not shelf.is_dir():
        return {}
    numbers = [place.name for place in shelf.iterdir() if is_version(place.name)]
    roots = {version: shelf / version / shelf.name for version in sorted(numbers, key=order)}
    return {version: root for version, root in roots.items() if (root / "configs" / "metadata.json").is_file()}

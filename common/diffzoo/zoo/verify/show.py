"""The table of checks for a person, and the same as JSON for a program."""

import json
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from diffzoo.zoo.bundle import find
from diffzoo.zoo.verify.check import Check

MARKS = {True: "ok", False: "BAD", None: "skip"}
WIDTH, NAMES = 100, 23  # columns of a detail, and of a name


def row(check: Check) -> str:
    """A row of the table: mark, name, detail, and the remedy on a line of its own."""
    lines = textwrap.wrap(check.detail, WIDTH) or [""]
    lines += textwrap.wrap(f"to do: {check.remedy}", WIDTH) if check.remedy else []
    first = f"{MARKS[check.passed]:5} {check.name:{NAMES}} "
    return "\n".join(f"{first if i == 0 else ' ' * len(first)}{line}" for i, line in enumerate(lines))


def summary(name: str, checks: Sequence[Check], seconds: float) -> str:
    """The last line of the table."""
    count = Counter(check.passed for check in checks)
    verdict = "keeps its promises" if not count[False] else "is not fit to be published"
    return f"{name} {verdict}: {count[True]} ok, {count[False]} bad, {count[None]} skipped, in {seconds:.0f} s"


def as_json(name: str, checks: Sequence[Check], seconds: float) -> str:
    """The table as JSON: bundle, passed, seconds, and checks with name, passed (null: skipped), detail and remedy."""
    document = {"bundle": name, "passed": all(check.passed is not False for check in checks), "seconds": round(seconds, 1)}
    return json.dumps(document | {"checks": [vars(check) for check in checks]}, indent=1)


def show(name: str, quick: bool, previous: Path | None, target: str | None, say: Callable[[str], None]) -> bool:
    """Verifies the bundle of that name, or in that folder, telling row by row; whether no check failed.

    target: a file for the JSON, or "-" to tell that instead of the table.
    """
    from diffzoo.imaging.io.files import write_bytes
    from diffzoo.zoo.verify import verify

    root = (Path(name) if Path(name).is_dir() else find(name).root).resolve()
    tell = (lambda check: None) if target == "-" else (lambda check: say(row(check)))
    start = time.perf_counter()
    checks = verify(root, quick, previous, tell)
    seconds = time.perf_counter() - start
    say(as_json(root.name, checks, seconds) if target == "-" else summary(root.name, checks, seconds))
    if target not in (None, "-"):
        write_bytes(Path(target), (as_json(root.name, checks, seconds) + "\n").encode())
    return all(check.passed is not False for check in checks)

"""Mutates valid inputs and hands them to `diffzoo run` and, those that are datalists, to `diffzoo evaluate`.

python tools/fuzz.py --count 1000 --seed 0              what the commands do with a case, in one process: minutes
python tools/fuzz.py --count 1000 --seed 0 --commands   the commands, each in a process that is forked: half an hour

Bits are flipped, files cut, header fields and sizes overwritten, of NIfTI, DICOM, HDF5, PNG and datalists. A mutation ends well
if its case is done (exit code 0) or refused in one line (2). Told are all others: unforeseen errors, hangs, half-written outputs.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

import mutations
from diffzoo import cli
from diffzoo.errors import InputError
from diffzoo.imaging.io.cases import cases_at
from diffzoo.imaging.io.files import case_names
from diffzoo.training.datalist import entries
from diffzoo.zoo.session import Session

SECONDS = 60  # for one mutation; more is a hang
SUMMARIES = ("report.json", "report.csv", "preview.png", "metrics.json", "metrics.csv", "metrics.png", "chart.png")
SETTINGS = {"steps": 1, "slices": "central:1", "center_fraction": 0.2}


def main(words: list[str] | None = None) -> int:
    """Runs the mutations, prints what went wrong, and returns 1 where anything did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", action="store_true", help="run the command itself and read its exit code")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as work:
        ends, problems = fuzz(options.count, options.seed, Path(work), options.commands)
    for problem in problems:
        print(problem)
    counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    print(f"{options.count} mutations with seed {options.seed}: {counts}; {len(problems)} problems")
    return 1 if problems else 0


def fuzz(count: int, seed: int, work: Path, commands: bool = False) -> tuple[Counter, list[str]]:
    """How `count` mutations ended, and a line for each that ended in no way it should; work: a folder for inputs and outputs."""
    torch.set_num_threads(1)  # a forked process cannot use threads that were begun before it
    makers = mutations.valid_inputs(work / "valid")
    judge = command_outcome if commands else _in_process(work / "out")
    ends, problems = Counter(), []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        kind = sorted(makers)[number % len(makers)]
        place = work / "mutated"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        given = makers[kind](rng, place)
        end = judge(given, work / "out")
        ends[f"{kind} {end.split(':')[0]}"] += 1
        if not end.startswith(("done", "refused")):
            problems.append(f"{kind} {number} (seed {seed}): {end}")
    return ends, problems


def _in_process(out: Path) -> Callable[[Path, Path], str]:
    """`outcome` with one session for all inputs."""
    session = Session("score_mri", settings=SETTINGS, device="cpu", output_dir=out)
    session.get("report").most = 0  # no picture: it would take most of the time
    return partial(outcome, session)


def command_outcome(given: Path, out: Path) -> str:
    """How the command ended on one input, as `outcome`: told by its exit code, its words and what it left."""
    shutil.rmtree(out, ignore_errors=True)
    words, log = _command(given, out), out.with_suffix(".log")
    child = multiprocessing.get_context("fork").Process(target=_run_command, args=(words, log))
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        return f"hang: more than {SECONDS} s"
    text = log.read_text(encoding="utf-8", errors="replace")
    if child.exitcode not in (0, 2) or "Traceback" in text:
        return f"exit code {child.exitcode}: {text.strip()[-200:]}"
    report = out / "report.json"
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"] if report.is_file() else []
    return _leftovers(out, cases, SUMMARIES if report.is_file() else ()) or ("refused" if child.exitcode else "done")


def _command(given: Path, out: Path) -> list[str]:
    job = ["evaluate", "score_mri", "--data"] if given.suffix == ".json" else ["run", "score_mri", "-i"]
    settings = SETTINGS | ({"tv_weight": "null"} if given.suffix == ".json" else {})
    return [*job, str(given), "-o", str(out), "--device", "cpu", *(f"--set={name}={value}" for name, value in settings.items())]


def _run_command(words: list[str], log: Path) -> None:
    """The command in this process, which it ends; what it says goes into a file."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.argv = ["diffzoo", *words]
    cli.main()


def outcome(session: Session, given: Path, out: Path) -> str:
    """How one input ended: "done", "refused", or with a colon what went wrong."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    report = session.get("report")
    report.cases, report.failed, report.rows = [], [], []
    try:
        with at_most(SECONDS):
            cases = _listed(given) if given.suffix == ".json" else cases_at(given)
            result = session.run(session.expanded(cases))
    except InputError as error:
        return _one_line(error) or _leftovers(out, []) or "refused"
    except TimeoutError:
        return f"hang: more than {SECONDS} s"
    except Exception as error:  # what the command would show as a traceback
        return f"unforeseen: {type(error).__name__}: {str(error)[:200]}"
    unforeseen = [error for _, error in result.failures if not isinstance(error, InputError)]
    if unforeseen:
        return f"unforeseen: {unforeseen[0]}"
    lines = "".join(_one_line(error) for _, error in result.failures)
    return lines or _leftovers(out, report.cases) or ("refused" if result.failures else "done")


def _listed(listing: Path) -> list[dict]:
    listed = entries(str(listing), "test")
    return [entry | {"case": name} for entry, name in zip(listed, case_names([e["image"] for e in listed]), strict=True)]


def _one_line(error: Exception) -> str:
    text = str(error)
    return "" if text and "\n" not in text else f"message: of {len(text.splitlines())} lines: {text[:100]!r}"


def _leftovers(out: Path, cases: list[Mapping], summaries: Collection[str] = ()) -> str:
    """What is in the output folder and belongs neither to a finished case nor to the summaries that a command may write."""
    known = {name for case in cases for name in case["outputs"]} | ({"report.json", "report.csv"} if cases else set())
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return "" if names - set(summaries) == known - set(summaries) else f"half-written: {sorted(names ^ known)}"


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in a block that takes longer."""

    def ring(*_) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())

"""Cases of a run shared out among processes, each with its own session; what they leave is that of one process."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from diffzoo.errors import InputError
from diffzoo.zoo.session import Failure, Outcome, Session

_SESSION: Session | None = None  # of a worker


def run_shared(
    session: Session, cases: Sequence[Mapping], on_case: Callable[[dict], None], command: str, workers: int
) -> Outcome:
    """`Session.run` by so many processes."""
    report, device, outcome = session.get("report"), str(session.get("device")), Outcome(session.folder)
    report.begin(cases, session.configs, command, session.changed)
    results = _shared_out(session.arguments, cases, workers, report.most)
    for case, (record, more) in zip(cases, results, strict=True):
        if record is None:
            outcome.failures.append((case["case"], more))
            report.note_failure(case["case"], more, device)
            continue
        report.add(record, more, device)
        outcome.cases.append(record)
        on_case(record)
    return outcome


def _shared_out(arguments: Mapping, cases: Sequence[Mapping], workers: int, shown: int) -> Iterator[tuple]:
    """(record, rows) or (None, error) of each case in order; arguments: those of a `Session`; shown: rows of the preview.

    Records and rows are as the report of one process makes them; volumes are written by the workers, nothing else is.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(min(workers, len(cases)), get_context("spawn"), _begin, (dict(arguments), threads))
    with pool:
        try:
            yield from pool.map(_attempt, range(len(cases)), cases, [shown] * len(cases))
        except BrokenProcessPool as error:
            raise Failure("a worker was ended from outside, perhaps for want of memory: give fewer --workers") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(arguments: dict, threads: int) -> None:
    import torch

    global _SESSION
    torch.set_num_threads(threads)
    _SESSION = Session(**arguments)
    report = _SESSION.get("report")
    report.begin((), _SESSION.configs, "", _SESSION.changed)
    report.alone = False


def _attempt(number: int, case: Mapping, shown: int) -> tuple:
    """Runs one case; the first of a run shows more of itself than the later ones, so its number matters."""
    report = _SESSION.get("report")
    report.cases, report.rows, report.most = [{}] * min(number, 1), [], max(0, shown - number)
    outcome = _SESSION.run([case])
    if outcome.failures:
        error = outcome.failures[0][1]
        return None, InputError(str(error)) if isinstance(error, InputError) else Failure(str(error))
    return outcome.cases[0], report.rows

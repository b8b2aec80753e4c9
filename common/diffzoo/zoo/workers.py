"""Cases of a run, or slices of a case, shared out among processes, each with its own session; the result is that of one."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import plain
from diffzoo.tasks.progress import Counter
from diffzoo.tasks.slices import Part
from diffzoo.zoo.session import Failure, Outcome, Session, in_one_line, quiet_monai, unwrapped

_SESSION: Session | None = None  # of a worker
_GIVEN: dict[str, Tensor] = {}  # the case whose slices it works on


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
    with _pool(arguments, min(workers, len(cases)), workers) as pool:
        yield from _mapped(pool, _attempt, range(len(cases)), cases, [shown] * len(cases))


def run_spread(
    session: Session, cases: Sequence[Mapping], on_case: Callable[[dict], None], command: str, workers: int
) -> Outcome:
    """`Session.run` of a `tasks.slices.SliceInferer` with the slices of each case worked on by so many processes."""
    inferer = session.get("inferer")
    inferer.spread = lambda given, batches: _spread(session, given, batches, workers)
    try:
        return session.run(cases, on_case, command)
    finally:
        inferer.spread = None


def _spread(session: Session, given: Mapping[str, Tensor], batches: Sequence[Sequence[int]], workers: int) -> Iterator[Part]:
    """The part of each batch of slices in order; the case goes to each worker once."""
    arrays = {key: plain(value).cpu().numpy() for key, value in given.items()}
    device = session.get("device")
    with _pool(session.arguments, min(workers, len(batches)), workers, arrays) as pool:
        for found, error in _mapped(pool, _slices, batches):
            if error is not None:
                raise error
            images, figures = found
            yield torch.from_numpy(images).to(device), {key: torch.from_numpy(value) for key, value in figures.items()}


def _pool(arguments: Mapping, processes: int, workers: int, arrays: Mapping | None = None) -> ProcessPoolExecutor:
    threads = max(1, (os.cpu_count() or 1) // workers)
    return ProcessPoolExecutor(processes, get_context("spawn"), _begin, (dict(arguments), threads, arrays or {}))


def _mapped(pool: ProcessPoolExecutor, work: Callable, *items: Sequence) -> Iterator:
    """What `work` gives for each of the items, in order; on an interruption what has not begun is given up."""
    try:
        yield from pool.map(work, *items)
    except BrokenProcessPool as error:
        raise Failure("a worker was ended from outside, perhaps for want of memory: give fewer --workers") from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _begin(arguments: dict, threads: int, arrays: Mapping) -> None:
    global _SESSION, _GIVEN
    torch.set_num_threads(threads)
    _SESSION = Session(**arguments)
    report = _SESSION.get("report")
    report.begin((), _SESSION.configs, "", _SESSION.changed)
    report.alone = False
    _GIVEN = {key: torch.from_numpy(values).to(_SESSION.get("device")) for key, values in arrays.items()}


def _slices(rows: Sequence[int]) -> tuple:
    """(images and figures, None) of a batch of slices, or (None, error)."""
    try:
        inferer, network = _SESSION.get("inferer"), _SESSION.get("network").to(_SESSION.get("device")).eval()
        with torch.no_grad(), quiet_monai(), unwrapped():
            images, figures = inferer.part(network, _GIVEN, rows, Counter(None, 1))
    except InputError as error:
        return None, error
    except Exception as error:
        return None, Failure(in_one_line(error))
    return (images.cpu().numpy(), {key: values.cpu().numpy() for key, values in figures.items()}), None


def _attempt(number: int, case: Mapping, shown: int) -> tuple:
    """Runs one case; the first of a run shows more of itself than the later ones, so its number matters."""
    report = _SESSION.get("report")
    report.cases, report.rows, report.most = [{}] * min(number, 1), [], max(0, shown - number)
    outcome = _SESSION.run([case])
    if outcome.failures:
        error = outcome.failures[0][1]
        return None, InputError(str(error)) if isinstance(error, InputError) else Failure(str(error))
    return outcome.cases[0], report.rows

"""What the commands `run` and `evaluate` do, told to a person line by line."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.facts import bare
from diffzoo.names import nearest
from diffzoo.zoo.bundle import Bundle, find

Say = Callable[[str], None]
MOST_WORKERS = 256


def run_cases(
    name: str,
    inputs: Sequence[str | Path],
    output: str | Path,
    settings: list[str] | None = None,
    config: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    trust: bool = False,
    skip_existing: bool = False,
    workers: int = 1,
    say: Say = lambda line: None,
) -> list[dict]:
    """Runs a bundle over inputs and returns the record of each case; raises InputError after the last if any was bad.

    Without inputs the bundle draws what it gives from nothing; InputError for one that cannot. skip_existing: go on with a folder
    that an interrupted run of the same bundle and settings left; workers: processes that share the cases, or the slices of one.
    """
    if skip_existing and overwrite:
        raise InputError("--skip-existing keeps what --overwrite replaces: give one of them")
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers {workers}: give 1 to {MOST_WORKERS}")
    bundle, overlays = _checked(name, config)
    values = bundle.settings(settings, overlays)
    from diffzoo.imaging.io.cases import cases_at
    from diffzoo.imaging.io.tree import label_maps

    cases = cases_at([Path(p) for p in inputs]) if inputs else None
    if passed := label_maps(inputs):
        say(f"{len(passed)} label maps passed over, such as {passed[0].name}: name one with -i to take it as a scan")
    given = [word for path in inputs for word in ("-i", path)]
    command = _command("run", name, given, output, settings, config, device)
    return _work(bundle, overlays, cases, output, values, device, overwrite, trust, say, command, skip_existing, workers)


def evaluate_cases(
    name: str,
    data: str | Path,
    part: str,
    output: str | Path,
    settings: list[str] | None = None,
    config: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    trust: bool = False,
    say: Say = lambda line: None,
) -> dict:
    """Evaluates a bundle and its baselines, and returns the content of metrics.json; errors as in `run_cases`."""
    bundle, overlays = _checked(name, config, "evaluate")
    values = bundle.settings(settings, overlays)
    from diffzoo.imaging.io.files import case_names
    from diffzoo.training.datalist import entries

    listed = entries(str(data), part, truth=bundle.task.truth)
    cases = [entry | {"case": n} for entry, n in zip(listed, case_names([e["image"] for e in listed]), strict=True)]
    command = _command("evaluate", name, ["--data", data, "--part", part], output, settings, config, device)
    _work(bundle, overlays, cases, output, values, device, overwrite, trust, say, command)
    import json

    metrics = json.loads((Path(output) / "metrics.json").read_text(encoding="utf-8"))
    from diffzoo.zoo.chart import write_chart

    if left := write_chart(output, metrics):
        say(f"chart {left[1]}, table {left[0]}")
    for method, mean in metrics["mean"].items():
        say(f"{method:>16}  " + "  ".join(f"{name.upper()} {value:.4g}" for name, value in mean.items() if value is not None))
    return metrics


def _command(
    verb: str, name: str, given: Sequence, output: str | Path, settings: Sequence[str] | None, config: str | None, device: str
) -> str:
    """The command line that does the same, its paths without their folders."""
    words = ["diffzoo", verb, name, *given, "-o", output, *(["--config", config] if config else []), "--device", device]
    words += [word for setting in settings or () for word in ("--set", setting)]
    return shlex.join(str(bare(str(word))) for word in words)


def _checked(name: str, config: str | None, *more: str) -> tuple[Bundle, list[str]]:
    """The bundle, and the configs to lay over each other, all of which are there."""
    bundle = find(name)
    if config is not None and config not in bundle.overlays:
        raise InputError(f"{bundle.name} has no overlay {config!r}; {nearest(config, bundle.overlays)}")
    configs = ["inference", *([config] if config else []), *more]
    for stem in configs:
        bundle.config(stem)
    if not bundle.weights.is_file():
        raise InputError(f"{bundle.name} has no weights (models/model.safetensors): train it, or fetch the bundle again")
    return bundle, configs


def _work(
    bundle: Bundle,
    configs: Sequence[str],
    cases: list[dict] | None,
    output: str | Path,
    values: Mapping,
    device: str,
    overwrite: bool,
    trust: bool,
    say: Say,
    command: str,
    skip_existing: bool = False,
    workers: int = 1,
) -> list[dict]:
    folder = Path(output)
    _check_folder(folder, overwrite or skip_existing)
    from diffzoo.zoo.session import Session

    session = Session(bundle, configs, values, device, folder, quiet=False, trust=trust)
    cases = session.from_nothing() if cases is None else session.expanded(cases)
    _check_free(folder, cases, overwrite or skip_existing)
    done = kept(session, cases) if skip_existing else []
    if done:
        session.get("report").keep(done)
        names = {record["case"] for record in done}
        cases = [case for case in cases if case["case"] not in names]
        say(f"{len(done)} case{'s'[: len(done) != 1]} kept, {len(cases)} to do")
        if not cases:
            return done
    say(plan(session, cases))
    arguments = (cases, lambda record: say(session.get("report").line(record)), command)
    return [*done, *_ended(_ran(session, arguments, workers, say), len(cases), say)]


def _ran(session, arguments: tuple, workers: int, say: Say):
    """The outcome of a run by one process or several; arguments: cases, what hears of each, and the command."""
    if workers == 1:
        return session.run(*arguments)
    from diffzoo.tasks.slices import SliceInferer
    from diffzoo.zoo.workers import run_shared, run_spread

    if len(arguments[0]) > 1:
        return run_shared(session, *arguments, workers)
    if isinstance(session.get("inferer"), SliceInferer):
        return run_spread(session, *arguments, workers)
    say(f"one process: {session.bundle.name} works on a case as a whole, --workers shares out several")
    return session.run(*arguments)


def _ended(outcome, count: int, say: Say) -> list[dict]:
    """The records of a run that has ended, after telling of it; an error where one of its cases failed."""
    from diffzoo.zoo.session import Failure

    for case, error in outcome.failures:
        say(f"{case}: error: {error}")
    if outcome.cases:
        say(f"picture {outcome.folder / 'preview.png'}, report {outcome.folder / 'report.json'}")
    if outcome.failures:
        first = f"{'' if len(outcome.failures) == 1 else ', first'}: {outcome.failures[0][1]}"
        foreseen = all(isinstance(error, InputError) for _, error in outcome.failures)
        raise (InputError if foreseen else Failure)(f"{len(outcome.failures)} of {count} cases failed{first}")
    return outcome.cases


def kept(session, cases: Sequence[Mapping]) -> list[dict]:
    """Records of those cases that an earlier run finished in the output folder, from the same scans and with all of their files.

    InputError where report.json is of another bundle, other weights or other settings, or cannot be read.
    """
    import json

    folder, path = session.folder, session.folder / "report.json"
    if not path.is_file():
        return []
    report = session.get("report")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        records = {record["case"]: record for record in document["cases"]}
        now = json.loads(json.dumps(report.summary(document["device"])))
        other = next((key for key in ("bundle", "parameters") if document[key] != now[key]), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}): give --overwrite, or another folder") from error
    if other:
        what = "other settings" if other == "parameters" else "another bundle, or other weights"
        raise InputError(f"{folder} holds results of {what}: choose another folder, or give --overwrite")
    report.begin(cases, session.configs, "", session.changed)
    records_kept = [records[case["case"]] for case in cases if case["case"] in records]
    return [
        record
        for record in records_kept
        if record.get("inputs") and record["inputs"] == report.inputs(record) and _complete(folder, record)
    ]


def _complete(folder: Path, record: Mapping) -> bool:
    """Whether all that a case left is there."""
    return all((folder / name).is_file() for name in (*record["outputs"], *record.get("beside", ())))


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: -o takes a folder")
    above = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{folder} cannot be made: {above} is not a folder that can be written to")
    taken = [name for name in ("report.json", "metrics.json") if (folder / name).exists()]
    if taken and not overwrite:
        raise InputError(_in_use(folder, taken[0]))


def _check_free(folder: Path, cases: Sequence[Mapping], overwrite: bool) -> None:
    taken = [p.name for case in cases for p in folder.glob(f"{_escaped(case['case'])}_*")] if folder.is_dir() else []
    if taken and not overwrite:
        raise InputError(_in_use(folder, taken[0]))


def _in_use(folder: Path, name: str) -> str:
    return f"{folder} holds {name} from an earlier run: choose another folder or give --overwrite"


def _escaped(name: str) -> str:
    import glob

    return glob.escape(name)


def plan(session, cases: Sequence[Mapping]) -> str:
    """One line on what will happen: bundle, device, cases, network calls, memory."""
    from diffzoo.imaging.io.cases import stored_shape

    inferer, bundle = session.get("inferer"), session.bundle
    shapes = [stored_shape(case["image"]) for case in cases if "image" in case]
    shapes = [shape for shape in shapes if shape and len(shape) > 1]
    words = [
        f"{bundle.name} {bundle.metadata['version']} on {session.get('device')}",
        f"{len(cases)} case{'s'[: len(cases) != 1]}",
    ]
    words.append(inferer.workload())
    if shapes:
        words.append(f"about {inferer.memory(max(shapes, key=_voxels)) / 2**30:.1f} GB of memory")
    return ", ".join(words)


def _voxels(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total

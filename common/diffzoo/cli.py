"""The `diffzoo` command. Only light modules are imported here; torch comes when a command computes."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffzoo.environment import settle
from diffzoo.errors import InputError
from diffzoo.tasks.task import names
from diffzoo.zoo.audit.options import audit
from diffzoo.zoo.federate.options import federate
from diffzoo.zoo.finetune.options import finetune
from diffzoo.zoo.options import Debug, Device, Index, Name, Offline, Overlay, Overwrite, Seed, Set, Trust, Unsigned
from diffzoo.zoo.store_options import download, export_bundles, import_bundles, index_app, pack, remove

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, soft_wrap=True, markup=False)
UsageError = typer.BadParameter.__base__  # click's own class, which some releases of typer import and others hold inside


def _tell_version(asked: bool) -> None:
    if asked:
        from diffzoo.facts import software_facts

        out.print(f"diffzoo {software_facts()['diffzoo']}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="tell it and stop")] = False,
) -> None:
    """A clinical model zoo of diffusion models. For research use, not for diagnosis."""


@app.command("list")
def list_bundles(index: Index = None, unsigned: Unsigned = False, offline: Offline = False) -> None:
    """List the bundles that are here and where they are from, and those that the index offers."""
    from diffzoo.zoo.listing import HEADINGS, rows

    listed, notes = rows(index, unsigned, offline)
    table = Table(*HEADINGS, box=None, pad_edge=False)
    for row in listed:
        table.add_row(*row)
    if listed:
        out.print(table)
    elif notes:
        raise InputError(notes[0])
    for note in notes:
        out.print(note)


@app.command()
def info(name: Name, index: Index = None, offline: Offline = False, unsigned: Unsigned = False) -> None:
    """Show what a bundle does, its parameters, limits and results."""
    from diffzoo.zoo.describe import describe
    from diffzoo.zoo.obtain import obtain

    out.print(describe(obtain(name, index, offline=offline, unsigned=unsigned, say=out.print)))


@app.command()
def doctor() -> None:
    """Check this installation: packages, device, bundles and weights."""
    from diffzoo.zoo.doctor import checks

    results = checks()
    for check in results:
        out.print(f"{'ok ' if check.good else 'BAD'} {check.what}: {check.detail}" + ("" if check.good else f"; {check.remedy}"))
    if not all(check.good for check in results):
        raise typer.Exit(1)


@app.command()
def scan(name: Name) -> None:
    """Check a bundle's files and configs without running anything of it; exit code 1 when something is refused."""
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.scan import scan as findings

    problems = findings(find(name).root)
    for finding in problems:
        out.print(f"{finding.severity:6} {finding}; {finding.remedy}")
    refused = sum(finding.severity == "refuse" for finding in problems)
    out.print(f"{refused} refused, {len(problems) - refused} notes: the scan is a filter, not a sandbox")
    if refused:
        raise typer.Exit(1)


@app.command()
def verify(
    name: Name,
    quick: Annotated[bool, typer.Option("--quick", help="run nothing of the bundle")] = False,
    previous: Annotated[Path | None, typer.Option(help="an earlier pack or folder of it, or a folder with an index")] = None,
    json: Annotated[str | None, typer.Option("--json", help="a file for the table as JSON; - for the screen")] = None,
    debug: Debug = False,
) -> None:
    """Check every promise of a bundle, offline and on the CPU; exit code 2 when one is not kept."""
    from diffzoo.zoo.verify.show import show

    if not show(name, quick, previous, json, say=out.print):
        raise typer.Exit(2)


app.command()(pack)
app.command()(download)
app.command()(remove)
app.command("export")(export_bundles)
app.command("import")(import_bundles)
app.add_typer(index_app, name="index")


@app.command("new")
def new_bundle(
    name: Annotated[str, typer.Argument(help="of the new bundle: a-z, 0-9 and _")],
    like: Annotated[str | None, typer.Option(help="the bundle to copy, with its weights")] = None,
    task: Annotated[str | None, typer.Option(help=f"train for {', '.join(names())}")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="folder for it; ./bundles where that is")] = None,
    steps: Annotated[int | None, typer.Option(help="of that training; by default what takes about a minute")] = None,
) -> None:
    """Make a bundle to start from: it works, and is measured on simulated volumes."""
    from diffzoo.zoo.new import new

    created = new(name, like, task, output, steps, say=out.print)
    out.print(f"{created}: a scaffold; `diffzoo verify {created}` checks it, CONTRIBUTING.md says how to go on")


@app.command()
def simulate(
    kind: Annotated[
        str,
        typer.Argument(
            help="MR (heads), CT (HU), OCT, brain (T1), contrasts, whole_head (T1, T2, CT), head_ct, pet, pair (organs) or nodule"
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for volumes and datalist.json")],
    cases: Annotated[int, typer.Option(help="volumes")] = 12,
    seed: Seed = 0,
) -> None:
    """Write simulated volumes with a datalist, to try training and evaluation without data."""
    from diffzoo.zoo.new.simulate import simulate as simulated

    out.print(simulated(kind, output, cases, seed))


@app.command()
def run(
    name: Name,
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for results")],
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            *("-i", "--input"),
            help="a volume, DICOM folder, raw data, or a folder of these; moving, then fixed, to register; none, to draw",
        ),
    ] = None,
    settings: Set = None,
    config: Overlay = None,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="go on with a folder of an interrupted run")] = False,
    workers: Annotated[
        int, typer.Option(help="processes that share the cases, or the slices of one; the memory is needed so many times")
    ] = 1,
    index: Index = None,
    offline: Offline = False,
    unsigned: Unsigned = False,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Run a bundle on scans, or without any: results in the scan's own geometry, a picture and a report."""
    from diffzoo.zoo.obtain import obtain
    from diffzoo.zoo.work import run_cases

    name = str(obtain(name, index, offline=offline, unsigned=unsigned, trust=trust, say=out.print).root)
    words = _with_seed(settings, seed)
    run_cases(name, inputs or [], output, words, config, device, overwrite, trust, skip_existing, workers, say=out.print)


@app.command()
def evaluate(
    name: Name,
    data: Annotated[Path, typer.Option("--data", help="a MONAI datalist JSON (its test list), a folder, or one scan")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for results")],
    settings: Set = None,
    part: Annotated[str, typer.Option(help="list of the datalist: test, validation or training")] = "test",
    config: Overlay = None,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    index: Index = None,
    offline: Offline = False,
    unsigned: Unsigned = False,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Measure a bundle and its baselines on data whose truth is known: metrics.json and a table."""
    from diffzoo.zoo.obtain import obtain
    from diffzoo.zoo.work import evaluate_cases

    name = str(obtain(name, index, offline=offline, unsigned=unsigned, trust=trust, say=out.print).root)
    evaluate_cases(name, data, part, output, _with_seed(settings, seed), config, device, overwrite, trust, say=out.print)


app.command()(finetune)
app.command()(federate)
app.command()(audit)


def _with_seed(settings: list[str] | None, seed: int) -> list[str]:
    return [f"seed={seed}", *(settings or [])]


def main() -> None:
    """Entry point: 0 done, 1 failure, 2 bad input or usage, 130 interrupted."""
    settle()
    debug = "--debug" in sys.argv
    if debug:
        os.environ["DIFFZOO_DEBUG"] = "1"
    arguments = [word for word in sys.argv[1:] if word != "--debug"]  # taken by every command
    try:
        code = app(arguments or ["--help"], standalone_mode=False)
    except UsageError as error:
        code = _complain(InputError(f"{error.format_message()} (--help shows the usage)"), 2, debug=False)
    except InputError as error:
        code = _complain(error, 2, debug)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:  # the last resort: one line for a person, the rest for --debug
        code = _complain(error, 1, debug)
    if code == 130:
        print("interrupted; finished cases are kept", file=sys.stderr)
    sys.exit(code or 0)


def _complain(error: Exception, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    print(
        f"error: {lines[0]}" + ("" if code == 2 or debug else f" ({type(error).__name__}; --debug shows more)"), file=sys.stderr
    )
    return code

"""The `diffzoo` command. Only light modules are imported here; torch comes when a command computes."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffzoo.errors import InputError
from diffzoo.tasks.task import names
from diffzoo.zoo.audit.options import audit
from diffzoo.zoo.federate.options import federate
from diffzoo.zoo.finetune.options import finetune

app = typer.Typer(
    help="A clinical model zoo of diffusion models. For research use, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
IDLE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}  # threads that wait sleep: spinning ones cost others their time
out = Console(highlight=False, soft_wrap=True, markup=False)
UsageError = typer.BadParameter.__base__  # click's own class, which some releases of typer import and others hold inside
Name = Annotated[str, typer.Argument(help="a bundle of this checkout, an installed one, or a path")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter; `diffzoo info NAME` lists them")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Trust = Annotated[bool, typer.Option("--trust", help="run what the scan refuses, and remember this content")]
Index = Annotated[str | None, typer.Option(help="address or folder of an index")]
Unsigned = Annotated[bool, typer.Option("--unsigned", help="take an index that nobody has signed")]
Seed = Annotated[int, typer.Option(help="same seed, same machine: same result")]
Overlay = Annotated[str | None, typer.Option("--config", help="an overlay of the bundle, such as published")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace earlier results in the output folder")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error, and MONAI's log")]


@app.command("list")
def list_bundles(index: Index = None, unsigned: Unsigned = False) -> None:
    """List the bundles that are here, or those that an index offers."""
    from diffzoo.zoo.bundle import installed

    if index is not None:
        return _offered(index, unsigned)
    bundles = installed()
    if not bundles:
        raise InputError("no bundle is here; run from a checkout, or set DIFFZOO_HOME to where bundles are installed")
    table = Table("bundle", "version", "task", "measured", box=None, pad_edge=False)
    for bundle in bundles:
        try:
            data = bundle.metadata
            table.add_row(bundle.name, data["version"], data["task"], data["headline"])
        except InputError as error:
            table.add_row(bundle.name, "-", "broken", str(error))
    out.print(table)


def _offered(index: str, unsigned: bool) -> None:
    from diffzoo.zoo.store import published
    from diffzoo.zoo.versions import newest

    table = Table("bundle", "version", "task", "measured", box=None, pad_edge=False)
    for name, versions in published(index, unsigned=unsigned).bundles.items():
        entry = versions[newest(versions)]
        table.add_row(name, entry.version, entry.task, entry.headline)
    out.print(table)


@app.command()
def info(name: Name) -> None:
    """Show what a bundle does, its parameters, limits and results."""
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.describe import describe

    out.print(describe(find(name)))


@app.command()
def doctor() -> None:
    """Check this installation: packages, device, bundles and weights."""
    from diffzoo.zoo.doctor import checks

    results = checks()
    for check in results:
        out.print(f"{'ok ' if check.good else 'BAD'} {check.what}: {check.found}" + ("" if check.good else f"; {check.remedy}"))
    if not all(check.good for check in results):
        raise typer.Exit(1)


@app.command()
def scan(name: Name) -> None:
    """Check a bundle's files and configs without running anything of it; exit code 1 when something is refused."""
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.scan import scan as findings

    found = findings(find(name).root)
    for finding in found:
        out.print(f"{finding.severity:6} {finding}; {finding.remedy}")
    refused = sum(finding.severity == "refuse" for finding in found)
    out.print(f"{refused} refused, {len(found) - refused} notes: the scan is a filter, not a sandbox")
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


@app.command()
def pack(name: Name, output: Annotated[Path, typer.Option("-o", "--output", help="folder for the zip")]) -> None:
    """Pack a bundle as a zip with hashes, and with twins of its weights and configs for stock MONAI programs."""
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.pack import pack as packed

    out.print(packed(find(name).root, output))


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="NAME or NAME==VERSION")],
    index: Annotated[str, typer.Option(help="address or folder of an index")],
    offline: Annotated[bool, typer.Option("--offline", help="use nothing but folders of this machine")] = False,
    unsigned: Unsigned = False,
    trust: Trust = False,
) -> None:
    """Fetch a bundle from an index: signature, hashes and contents are checked before it is installed."""
    from diffzoo.zoo.store import download as fetched

    out.print(fetched(name, index, offline=offline, unsigned=unsigned, check=_guard(trust), say=out.print))


@app.command()
def remove(name: Annotated[str, typer.Argument(help="NAME, or NAME==VERSION")]) -> None:
    """Remove an installed bundle."""
    from diffzoo.zoo.store import remove as removed

    out.print(f"removed {name.partition('==')[0]} {', '.join(removed(name))}")


@app.command("export")
def export_bundles(
    kit: Annotated[Path, typer.Argument(help="the file to write")],
    names: Annotated[list[str] | None, typer.Option("--name", help="installed bundles; all by default")] = None,
) -> None:
    """Write installed bundles into one file, for a machine without a network."""
    from diffzoo.zoo.kit import export_kit

    out.print(export_kit(names, kit))


@app.command("import")
def import_bundles(
    kit: Annotated[Path, typer.Argument(help="a file that `diffzoo export` wrote")],
    unsigned: Unsigned = False,
    trust: Trust = False,
) -> None:
    """Install the bundles of a kit, with the checks of a download."""
    from diffzoo.zoo.kit import import_kit

    for root in import_kit(kit, unsigned=unsigned, check=_guard(trust), say=out.print):
        out.print(root)


def _guard(trust: bool):
    """The scan of what was fetched, before it is installed."""
    from diffzoo.zoo.bundle import Bundle
    from diffzoo.zoo.trust import check

    return lambda root: check(Bundle(root), trust)


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

    made = new(name, like, task, output, steps, say=out.print)
    out.print(f"{made}: a scaffold; `diffzoo verify {made}` checks it, CONTRIBUTING.md says how to go on")


@app.command()
def simulate(
    kind: Annotated[str, typer.Argument(help="MR (heads), CT (in HU), brain (whole, T1-like) or pair (labelled organs)")],
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
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Run a bundle on scans, or without any: results in the scan's own geometry, a picture and a report."""
    from diffzoo.zoo.work import run_cases

    run_cases(name, inputs or [], output, _with_seed(settings, seed), config, device, overwrite, trust, say=out.print)


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
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Measure a bundle and its baselines on data whose truth is known: metrics.json and a table."""
    from diffzoo.zoo.work import evaluate_cases

    evaluate_cases(name, data, part, output, _with_seed(settings, seed), config, device, overwrite, trust, say=out.print)


app.command()(finetune)
app.command()(federate)
app.command()(audit)


def _with_seed(settings: list[str] | None, seed: int) -> list[str]:
    return [f"seed={seed}", *(settings or [])]


def main() -> None:
    """Entry point: 0 done, 1 failure, 2 bad input or usage, 130 interrupted."""
    _settle()
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


def _settle() -> None:
    """Sets what libraries ask of the environment: threads that sleep while they wait, a name for a user who has none."""
    for name, value in IDLE.items():
        os.environ.setdefault(name, value)
    if hasattr(os, "getuid") and not any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        import pwd

        try:
            pwd.getpwuid(os.getuid())
        except KeyError:  # docker --user: torch asks for the name
            os.environ["LOGNAME"] = f"user{os.getuid()}"


def _complain(error: Exception, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    print(
        f"error: {lines[0]}" + ("" if code == 2 or debug else f" ({type(error).__name__}; --debug shows more)"), file=sys.stderr
    )
    return code

"""The `diffzoo` command. Only light modules are imported here; torch comes when a command computes."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from diffzoo.errors import InputError

app = typer.Typer(
    help="A clinical model zoo of diffusion models. For research use, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, soft_wrap=True, markup=False)
UsageError = typer.BadParameter.__base__  # click's own class, which some releases of typer import and others hold inside
Name = Annotated[str, typer.Argument(help="a bundle of this checkout, an installed one, or a path")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter; `diffzoo info NAME` lists them")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Seed = Annotated[int, typer.Option(help="same seed, same machine: same result")]
Overlay = Annotated[str | None, typer.Option("--config", help="an overlay of the bundle, such as published")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace earlier results in the output folder")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error, and MONAI's log")]


@app.command("list")
def list_bundles() -> None:
    """List the bundles that are here."""
    from diffzoo.zoo.bundle import installed

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
def run(
    name: Name,
    inputs: Annotated[list[Path], typer.Option("-i", "--input", help="a volume, DICOM folder, raw data, or a folder of these")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for results")],
    settings: Set = None,
    config: Overlay = None,
    device: Device = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Run a bundle on scans: results in the scan's own geometry, a picture and a report."""
    from diffzoo.zoo.work import run_cases

    run_cases(name, inputs, output, _with_seed(settings, seed), config, device, overwrite, say=out.print)


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
    debug: Debug = False,
) -> None:
    """Measure a bundle and its baselines against fully sampled data: metrics.json and a table."""
    from diffzoo.zoo.work import evaluate_cases

    evaluate_cases(name, data, part, output, _with_seed(settings, seed), config, device, overwrite, say=out.print)


def _with_seed(settings: list[str] | None, seed: int) -> list[str]:
    return [f"seed={seed}", *(settings or [])]


def main() -> None:
    """Entry point: 0 done, 1 failure, 2 bad input or usage, 130 interrupted."""
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

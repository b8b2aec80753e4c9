"""The commands that pack, publish and fetch bundles, for `diffzoo.cli`. Light: the rest comes when a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from diffzoo.errors import InputError
from diffzoo.zoo.options import Index, Offline, Trust, Unsigned

index_app = typer.Typer(no_args_is_help=True, help="Which index bundles are fetched from.")


def pack(
    name: Annotated[str, typer.Argument(help="a bundle that is here, or a path")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the zip")],
) -> None:
    """Pack a bundle as a zip with hashes, and with twins of its weights and configs for stock MONAI programs."""
    from diffzoo.zoo.bundle import find
    from diffzoo.zoo.pack import pack as packed

    typer.echo(packed(find(name).root, output))


def download(
    name: Annotated[str, typer.Argument(help="NAME or NAME==VERSION")],
    index: Index = None,
    offline: Offline = False,
    unsigned: Unsigned = False,
    trust: Trust = False,
) -> None:
    """Fetch a bundle from an index: signature, hashes and contents are checked before it is installed."""
    from diffzoo.zoo.obtain import SET_ONE, chosen, guard
    from diffzoo.zoo.store import download as fetched

    address = chosen(index)
    if address is None and not offline:
        raise InputError(f"no index is known to fetch {name} from: {SET_ONE}")
    place = None if address is None else address[0]
    typer.echo(fetched(name, place, offline=offline, unsigned=unsigned, check=guard(trust), say=typer.echo))


def remove(name: Annotated[str, typer.Argument(help="NAME, or NAME==VERSION")]) -> None:
    """Remove an installed bundle."""
    from diffzoo.zoo.store import remove as removed

    typer.echo(f"removed {name.partition('==')[0]} {', '.join(removed(name))}")


def export_bundles(
    kit: Annotated[Path, typer.Argument(help="the file to write")],
    names: Annotated[list[str] | None, typer.Option("--name", help="installed bundles; all by default")] = None,
) -> None:
    """Write installed bundles into one file, for a machine without a network."""
    from diffzoo.zoo.kit import export_kit

    typer.echo(export_kit(names, kit))


def import_bundles(
    kit: Annotated[Path, typer.Argument(help="a file that `diffzoo export` wrote")],
    unsigned: Unsigned = False,
    trust: Trust = False,
) -> None:
    """Install the bundles of a kit, with the checks of a download."""
    from diffzoo.zoo.kit import import_kit
    from diffzoo.zoo.obtain import guard

    for root in import_kit(kit, unsigned=unsigned, check=guard(trust), say=typer.echo):
        typer.echo(root)


@index_app.command("set")
def set_index(address: Annotated[str, typer.Argument(help="address or folder of an index")], unsigned: Unsigned = False) -> None:
    """Fetch bundles from this index from now on, once its signature was found to hold."""
    from diffzoo.zoo.obtain import store_index

    typer.echo(_stored_line(store_index(address, unsigned=unsigned, say=typer.echo)))


@index_app.command("show")
def show_index(index: Index = None, unsigned: Unsigned = False) -> None:
    """Tell which index is asked, why, who signed it, and what it has."""
    from diffzoo.zoo.obtain import SET_ONE, chosen
    from diffzoo.zoo.store import published

    address = chosen(index)
    if address is None:
        raise InputError(f"no index is set: {SET_ONE}")
    typer.echo(f"{address[0]} ({address[1]})")
    typer.echo(_stored_line(published(address[0], unsigned=unsigned, say=typer.echo)))


@index_app.command("unset")
def unset_index() -> None:
    """Forget the stored index."""
    from diffzoo.zoo.obtain import forget_index

    forget_index()


def _stored_line(index) -> str:
    return f"{index.zoo}, serial {index.serial}, {len(index.bundles)} bundles, {index.signed} ({index.level})"

"""Arguments and options that several commands have. Light: typer alone."""

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="a bundle of this checkout, an installed one, a path, or one that the index offers")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter; `diffzoo info NAME` lists them")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
Trust = Annotated[bool, typer.Option("--trust", help="run what the scan refuses, and remember this content")]
Index = Annotated[str | None, typer.Option(help="address or folder of an index, where not the one of `diffzoo index show`")]
Offline = Annotated[bool, typer.Option("--offline", help="use nothing but what is on this machine")]
Unsigned = Annotated[bool, typer.Option("--unsigned", help="take an index that nobody has signed")]
Seed = Annotated[int, typer.Option(help="same seed, same machine: same result")]
Overlay = Annotated[str | None, typer.Option("--config", help="an overlay of the bundle, such as published")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace earlier results in the output folder")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error, and MONAI's log")]

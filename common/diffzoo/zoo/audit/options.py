"""The options of `diffzoo audit`. Light: the rest comes when the command runs."""

from pathlib import Path
from typing import Annotated

import typer

FOLDER = "a folder of images or volumes, or a datalist"


def audit(
    samples: Annotated[Path, typer.Option("--samples", help=f"what a generator made: {FOLDER}")],
    train: Annotated[Path, typer.Option("--train", help="the images that it was trained on")],
    holdout: Annotated[Path, typer.Option("--holdout", help="real images of other people")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for audit.json and pairs.png")],
    untrained: Annotated[Path | None, typer.Option("--untrained", help="what the generator made before it was trained")] = None,
    size: Annotated[int, typer.Option(help="pixels an axis to which images are brought")] = 64,
    as_is: Annotated[bool, typer.Option("--as-is", help="take images of one size as they are, in units of about 1")] = False,
    steps: Annotated[int, typer.Option(help="of training the second view; 0 leaves it out")] = 800,
    subject_pattern: Annotated[str | None, typer.Option(help="regular expression that tells whose image a path is")] = None,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an earlier audit")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error, and MONAI's log")] = False,
) -> None:
    """Look for training images among samples of a generator, and tell how far these are from real ones."""
    from diffzoo.zoo.audit.command import audited

    given = {"untrained": untrained, "size": size, "framed": not as_is, "steps": steps, "seed": seed}
    audited(samples, train, holdout, output, pattern=subject_pattern, overwrite=overwrite, say=typer.echo, **given)

"""The options of `diffzoo federate`. Light: the rest comes when the command runs."""

from pathlib import Path
from typing import Annotated

import typer


def federate(
    name: Annotated[str, typer.Argument(help="a bundle of this checkout, an installed one, or a path")],
    data: Annotated[list[Path], typer.Option("--data", help="scans of a site, as for finetune; once for each site")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the job and the lists of the sites")],
    rounds: Annotated[int, typer.Option(help="after each of which the sites' weights are averaged")] = 10,
    steps: Annotated[int, typer.Option(help="of the optimiser, at each site, in each round")] = 50,
    mu: Annotated[float, typer.Option(help="of FedProx, which keeps sites near the average; 0 is FedAvg")] = 0.0,
    learning_rate: Annotated[float | None, typer.Option(help="peak; a quarter of the bundle's")] = None,
    batch_size: Annotated[int | None, typer.Option(help="items a step; the bundle's")] = None,
    seed: Annotated[int, typer.Option(help="of split, batches and noise; that of a further site is one more")] = 0,
    subject_pattern: Annotated[str | None, typer.Option(help="regular expression that tells whose scan a path is")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter of train.yaml")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    trust: Annotated[bool, typer.Option("--trust", help="take what the scan refuses, and remember this content")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error, and MONAI's log")] = False,
) -> None:
    """Write a job for NVFLARE in which sites fine-tune a bundle together, each on scans that stay with it."""
    from diffzoo.zoo.federate.job import Terms
    from diffzoo.zoo.federate.job import federate as written

    terms = Terms(rounds, steps, mu, learning_rate, batch_size, seed, device)
    written(name, data, output, terms, settings, subject_pattern, trust, say=typer.echo)

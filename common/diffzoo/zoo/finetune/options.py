"""The options of `diffzoo finetune`. Light: the rest comes when the command runs."""

from pathlib import Path
from typing import Annotated

import typer

from diffzoo.zoo.options import Index, Name, Offline, Unsigned


def finetune(
    name: Name,
    data: Annotated[Path, typer.Option("--data", help="a folder of scans, a BIDS tree, or a MONAI datalist JSON")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the new bundle; its name is the bundle's")],
    check: Annotated[bool, typer.Option("--check", help="look at the data, and stop")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run, as it was told")] = False,
    epochs: Annotated[int | None, typer.Option(help="of the bundle's steps an epoch")] = None,
    steps: Annotated[int | None, typer.Option(help="of the optimiser; 500 where no length is given; 0 with --weights")] = None,
    minutes: Annotated[float | None, typer.Option(help="from the first step on; what fits in is found by a trial")] = None,
    method: Annotated[str | None, typer.Option(help="full (all weights), lora (low-rank adapters) or head (last layers)")] = None,
    rank: Annotated[int | None, typer.Option(help="of the adapters of lora; 8")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="peak; by the bundle's and the method")] = None,
    ema: Annotated[float | None, typer.Option(help="decay of the average of weights; by the number of steps")] = None,
    patience: Annotated[int | None, typer.Option(help="validations without a gain that end it; 0: none do")] = None,
    replay: Annotated[str | None, typer.Option(help="against forgetting: a folder of old data, or samples of the parent")] = None,
    replay_weight: Annotated[float | None, typer.Option(help="of that against the loss; 1")] = None,
    batch_size: Annotated[int | None, typer.Option(help="items a step; the bundle's")] = None,
    accumulate: Annotated[int | None, typer.Option(help="parts of a batch, for less memory; 1")] = None,
    autocast: Annotated[str | None, typer.Option(help="none, bfloat16, float16, or auto: bfloat16 where it is faster")] = None,
    seed: Annotated[int | None, typer.Option(help="of split, batches and noise; 0")] = None,
    match: Annotated[float | None, typer.Option(help="least share of the weights that must fit the network; 1")] = None,
    weights: Annotated[str | None, typer.Option(help="start from these, trained elsewhere: .safetensors or .pt")] = None,
    subject_pattern: Annotated[str | None, typer.Option(help="regular expression that tells whose scan a path is")] = None,
    tensorboard: Annotated[bool | None, typer.Option("--tensorboard", help="also write for TensorBoard")] = None,
    no_measure: Annotated[bool | None, typer.Option("--no-measure", help="leave out measuring before and after")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter of train.yaml")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    index: Index = None,
    offline: Offline = False,
    unsigned: Unsigned = False,
    trust: Annotated[bool, typer.Option("--trust", help="run what the scan refuses, and remember this content")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error, and MONAI's log")] = False,
) -> None:
    """Fine-tune a bundle on your scans: a new bundle, measured before and after; the old one stays as it is."""
    _tune(dict(locals()))


def _tune(given: dict) -> None:
    from diffzoo.zoo.finetune.choices import NAMES
    from diffzoo.zoo.finetune.command import finetune as tuned
    from diffzoo.zoo.obtain import obtain

    where = {key: given[key] for key in ("index", "offline", "unsigned", "trust")}
    parent = str(obtain(given["name"], say=typer.echo, **where).root)
    words = [given[key] for key in ("settings", "subject_pattern", "check", "resume", "device", "trust")]
    tuned(parent, given["data"], given["output"], {key: given[key] for key in NAMES}, *words, say=typer.echo)

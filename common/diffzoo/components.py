"""What every config is made of: device, cases, engines, handlers and a run, so that a bundle's config reads as a recipe."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from ignite.engine import Engine
from ignite.metrics import Average
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import PrepareBatchExtraInput
from torch import nn

from diffzoo.diffusion.denoiser import EMA
from diffzoo.imaging.io.cases import cases_at
from diffzoo.tasks.device import pick
from diffzoo.tasks.launch import launch
from diffzoo.training.handlers import EMAUpdate, EpochOf, ExportWeights, LearningRate, LossLog, Resume, TimeLimit
from diffzoo.training.handlers_best import KeepBest
from diffzoo.training.handlers_plots import LossPlot, TensorBoard
from diffzoo.training.steps import output_of


def device(name: str = "auto") -> torch.device:
    """The device of that name, as `tasks.device.pick`."""
    return pick(name)


def cases(path: str | Path) -> list[dict]:
    """The cases at a path, as `imaging.io.cases.cases_at`."""
    return cases_at(path)


def evaluator(device, dataset, network: nn.Module, inferer, postprocessing, handlers: Sequence) -> SupervisedEvaluator:
    """MONAI's engine over single cases; the inferer gets the image and, by name, those items that its `conditions` list."""
    return SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(dataset, batch_size=1, num_workers=0),
        network=network,
        inferer=inferer,
        prepare_batch=PrepareBatchExtraInput({name: name for name in inferer.conditions}),
        postprocessing=postprocessing,
        val_handlers=handlers,
    )


def trainer(
    device, max_epochs: int, dataset, network: nn.Module, optimizer, loss, inferer, step, handlers: Sequence
) -> SupervisedTrainer:
    """MONAI's engine over batches that the dataset makes itself; `step` is one optimiser step."""
    return SupervisedTrainer(
        device=device,
        max_epochs=max_epochs,
        train_data_loader=torch.utils.data.DataLoader(dataset, batch_size=None),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        inferer=inferer,
        iteration_update=step,
        train_handlers=handlers,
        decollate=False,
    )


def validator(device, dataset, network: nn.Module, step, metrics: Mapping[str, str], inferer=None) -> SupervisedEvaluator:
    """MONAI's engine over batches of a validation; metrics: names and the keys of the step's output, the chief first."""
    extra = {} if inferer is None else {"inferer": inferer}
    return SupervisedEvaluator(
        device=device,
        val_data_loader=torch.utils.data.DataLoader(dataset, batch_size=None),
        network=network,
        iteration_update=step,
        key_val_metric={name: Average(output_of(key)) for name, key in metrics.items()},
        decollate=False,
        **extra,
    )


def handlers(
    dataset,
    network: nn.Module,
    optimizer,
    ema: EMA,
    evaluator: Engine,
    output_dir: str,
    learning_rate: float,
    steps: int,
    minutes: float = 0,
    resume: bool = True,
    objects: Mapping | None = None,
    warmup: int = 100,
    every: int = 5,
    first: bool = False,
    patience: int | None = None,
    checkpoint_minutes: float = 0,
    tensorboard: bool = False,
    more: Sequence = (),
) -> list:
    """The handlers of a training: epoch, learning rate, moving average, log, checkpoint, time limit, final weights.

    steps: of the whole training, over which the rate falls, whatever part a run makes; objects: more for the checkpoint. With
    `patience` the best average by validation is kept, and the training ends after so many validations without a gain (0: never).
    """
    output, kept = Path(output_dir), {"network": network, "ema": ema, "optimizer": optimizer, **(objects or {})}
    log = LossLog(str(output / "train_log.jsonl"), evaluator, every, first)
    best = None if patience is None else KeepBest(ema, evaluator, patience=patience)
    kept |= {} if best is None else {"best": best, "log": log}
    return [
        EpochOf(dataset),
        LearningRate(optimizer, learning_rate, steps, warmup),
        EMAUpdate(ema, network),
        *([log] if best is None else [best, log, LossPlot(str(log.path), str(output / "loss.png"))]),
        Resume(str(output / "checkpoint.pt"), kept, enabled=resume, minutes=checkpoint_minutes),
        TimeLimit(minutes),
        ExportWeights(ema, str(output / "model.safetensors"), best, rescue=best is not None),
        *([TensorBoard(str(output / "tensorboard"), evaluator)] if tensorboard else []),
        *more,
    ]


def run(engine: Engine) -> Engine:
    """Runs an engine, in several processes where torchrun started them, as `tasks.launch.launch`."""
    return launch(engine)

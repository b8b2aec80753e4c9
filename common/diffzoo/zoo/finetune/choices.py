"""What a person may choose of a fine-tuning, checked before anything is read. Light."""

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.names import nearest

METHODS = {"full": 0.25, "lora": 1.0, "head": 0.5}  # share of the parent's learning rate, where none is given
AUTOCASTS = ("auto", "none", "bfloat16", "float16")
STEPS = 500  # where neither epochs, steps nor minutes are given
PER_EPOCH = 50  # steps between two lines of the log
VALIDATIONS = 10  # in a run
FEWEST = 20  # steps that --minutes must hold: fewer teach nothing
KINDS = (".safetensors", ".pt")  # of files of weights


@dataclass(frozen=True)
class Choices:
    """Options of `diffzoo finetune`; None leaves the choice to the parent's train.yaml, or to a rule of `recipe`.

    replay: "samples" for images that the parent draws itself, or a folder or datalist of old data. weights: a file of weights of
    the parent's network that were trained elsewhere, to start from; with 0 steps they are taken as they are. minutes: from the
    first step on, with the validations between steps. no_measure: the test list is measured neither before nor after.
    settings: further parameters of train.yaml by name. Raises InputError for values out of range, and for two lengths.
    """

    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    method: str = "full"
    rank: int = 8
    learning_rate: float | None = None
    ema: float | None = None
    patience: int = 0
    replay: str | None = None
    replay_weight: float = 1.0
    batch_size: int | None = None
    accumulate: int = 1
    autocast: str = "none"
    seed: int = 0
    match: float = 1.0
    weights: str | None = None
    tensorboard: bool = False
    no_measure: bool = False
    settings: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise InputError(f"give one of --{' and --'.join(lengths)}: each says how long to train")
        for name, among in (("method", METHODS), ("autocast", AUTOCASTS)):
            if getattr(self, name) not in among:
                raise InputError(f"unknown --{name} {getattr(self, name)!r}; {nearest(getattr(self, name), among)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InputError(f"--{name.replace('_', '-')} {value:g}: give {low:g} to {high:g}")
        if self.replay not in (None, "samples") and not Path(self.replay).exists():
            raise InputError(f"--replay {self.replay}: no such folder or datalist of old data; `samples` needs none")
        if self.weights is not None and not (Path(self.weights).suffix in KINDS and Path(self.weights).is_file()):
            raise InputError(f"--weights {self.weights}: no such file of weights ({' or '.join(KINDS)})")
        if self.steps == 0 and self.weights is None:
            raise InputError("--steps 0 trains nothing: give --weights of a model that was trained elsewhere")

    @property
    def record(self) -> dict:
        """All of them but where old data and weights lie, for documents."""
        replay = self.replay if self.replay in (None, "samples") else "data"
        return asdict(self) | {"replay": replay, "weights": self.weights and "given"}


NAMES = tuple(option.name for option in fields(Choices) if option.name != "settings")  # of the command, by these names
RANGES = {
    "epochs": (1, 100_000),
    "steps": (0, 1_000_000),
    "minutes": (0.01, 100_000),
    "rank": (1, 1024),
    "learning_rate": (1e-9, 10),
    "ema": (0, 0.99999),
    "patience": (0, 10_000),
    "replay_weight": (0, 1000),
    "batch_size": (1, 4096),
    "accumulate": (1, 4096),
    "seed": (0, 2**31 - 1),
    "match": (0.01, 1),
}


def resumed(stored: dict, given: dict) -> Choices:
    """The choices of an interrupted run; those given again must be the same, the time included. Raises InputError otherwise."""
    kept = Choices(**{option.name: stored[option.name] for option in fields(Choices)})
    for name, value in given.items():
        if value not in (None, {}) and value != getattr(kept, name):
            problem = f"--{name.replace('_', '-')} {value} is not what the interrupted run had ({getattr(kept, name)})"
            raise InputError(f"{problem}: leave it out with --resume, or start anew in another folder")
    return kept


def layout(steps: int, per_epoch: int = PER_EPOCH) -> tuple[int, int]:
    """Epochs and steps an epoch that make about so many steps, not fewer."""
    epochs = max(1, round(steps / per_epoch))
    return epochs, -(-steps // epochs)


def duration(seconds: float) -> str:
    """Seconds or minutes, in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

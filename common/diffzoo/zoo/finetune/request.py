"""What a person asks of a fine-tuning: parent, data, place and settings, checked. Light: no torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import Bundle, find
from diffzoo.zoo.finetune.choices import FEWEST, PER_EPOCH, STEPS, VALIDATIONS, Choices, layout
from diffzoo.zoo.trust import check

PLAN = "plan.json"
NEEDED = ("configs/train.yaml", "configs/evaluate.yaml", "LICENSE", "configs/logging.conf", "docs/data_license.txt")
OPTIONS = {
    key: key.replace("_", "-") for key in ("epochs", "minutes", "batch_size", "learning_rate", "seed", "resume", "patience")
}
OPTIONS |= {"steps_per_epoch": "steps", "ema_decay": "ema", "method": "method", "rank": "rank", "accumulate": "accumulate"}
OPTIONS |= {"replay": "replay", "replay_weight": "replay-weight", "autocast": "autocast"}  # of train.yaml
SPARE, VALIDATION = 0.92, 4.0  # share of the minutes that is planned; steps that take as long as one validation
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What a person asks for: parent, data, place of the new bundle, and how to run."""

    parent: Bundle
    data: Path
    place: Path
    device: str = "auto"
    trust: bool = False

    @property
    def work(self) -> Path:
        """The folder beside the new bundle for lists with paths, checkpoints, and what names scans."""
        return self.place.with_name(f"{self.place.name}_work")


def checked_parent(name: str, trust: bool) -> Bundle:
    """The bundle, which has all that a new one takes from it, and passes the scan."""
    parent = find(name)
    check(parent, trust)
    parent.config("train")
    lacking = [part for part in NEEDED if not (parent.root / part).is_file()]
    if lacking or not parent.weights.is_file():
        raise InputError(f"{parent.name} lacks {', '.join(lacking) or 'its weights'}: it cannot be fine-tuned; fetch it again")
    return parent


def checked_settings(parent: Bundle, pairs: list[str] | None) -> dict:
    """Checked parameters of train.yaml, less those that are options of the command."""
    values = parent.settings(pairs, ("train",)) if pairs else {}
    if taken := next((key for key in values if key in OPTIONS), None):
        raise InputError(f"--set {taken}: give --{OPTIONS[taken]} instead")
    return values


def lengths(choices: Choices, per_epoch: int) -> tuple[int, int]:
    """Epochs and steps of each before the pace is known; per_epoch: those of the parent's train.yaml."""
    if choices.epochs is not None:
        return choices.epochs, per_epoch
    return layout(choices.steps or STEPS) if choices.minutes is None else (1, PER_EPOCH)


def layout_within(minutes: float, step: float) -> tuple[int, int]:
    """Epochs and steps of each that fit into some minutes at `step` seconds a step; InputError telling what would hold them."""
    if epochs := epochs_within(minutes, step, PER_EPOCH):
        return epochs, PER_EPOCH
    steps = max(0, int(60 * SPARE * minutes / step - VALIDATION))  # one epoch, which one validation ends
    if steps >= FEWEST:
        return 1, steps
    enough = ceil((FEWEST + VALIDATION) * step / (60 * SPARE))
    hold = f"{steps} steps of {step:.2g} s, and fewer than {FEWEST} teach nothing"
    raise InputError(f"--minutes {minutes:g} holds {hold}: give --minutes {enough}, a smaller --batch-size, or --steps {FEWEST}")


def epochs_within(minutes: float, step: float, per_epoch: int) -> int:
    """Epochs that fit into some minutes at `step` seconds a step, validations included; 0: none does."""
    steps = 60 * SPARE * minutes / max(step, 1e-9)
    judged = min(VALIDATIONS, steps / per_epoch)
    return max(0, int((steps - VALIDATION * judged) / per_epoch))

"""The training of a fine-tuned bundle, by its own train.yaml and MONAI's config parser, as `monai.bundle run` does it."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from diffzoo.errors import InputError
from diffzoo.networks.lora import trainable
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.finetune.choices import duration
from diffzoo.zoo.session import parse, quiet_monai, unwrapped

LOG, WEIGHTS = "train_log.jsonl", "model.safetensors"
TRIALS = 3  # steps that are timed, after one that is not
PAYS = 0.85  # of the time in full precision: with less, mixed precision is worth it
QUANTILE, HIGHEST = 0.97, 5.0  # of the noise levels of the training: from where the parent draws images
LEAST_DRAW = 1.0  # below this level of noise an image shows through: what is drawn from it is no draw
Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """What a few steps tell beforehand: seconds a step, parameters that train and all, memory in GB, whether bfloat16 pays."""

    seconds: float
    trains: int
    parameters: int
    memory_gb: float
    autocast: str | None = None


def load_report(bundle: Bundle, given: str | Path | None = None) -> tuple[dict[str, torch.Tensor], int, int]:
    """The tensors of a weight file (the bundle's own, or `given`) that fit the network of its train.yaml; their number, and all.

    Raises InputError for weights that cannot be read.
    """
    with quiet_monai(), unwrapped():
        own = parse(bundle, ["train"], {}).get_parsed_content("network_def").state_dict()
        try:
            state = _state(Path(given or bundle.weights))
        except Exception as error:
            problem = f"{given} cannot be read" if given else f"{bundle.name}: model.safetensors cannot be read"
            raise InputError(f"{problem} ({type(error).__name__}): fetch it again") from error
    fits = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    return fits, len(fits), len(own)


def _state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weight file; of a `.pt`, which NVFLARE writes too, those under "model" where it has such a key."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: torch.as_tensor(value) for key, value in state.get("model", state).items()}


def start_weights(bundle: Bundle, threshold: float, folder: Path, say: Say, given: str | None = None) -> Path:
    """The weight file to start from, with a line on how many tensors match; InputError where their share is below the threshold.

    The parent's own where all match; else one in the folder, the other tensors as the network was initialised. The same for
    weights that were given in their place.
    """
    fits, matched, total = load_report(bundle, given)
    line = f"{matched} of {total} tensors of {Path(given).name if given else bundle.name} match the train.yaml of {bundle.name}"
    if matched < threshold * total:
        raise InputError(f"{line}, less than {threshold:.0%}: mend network_def, or lower --match")
    say(line)
    if matched == total and given is None:
        return bundle.weights
    from diffzoo.networks.weights import save_weights

    with quiet_monai(), unwrapped():
        network = parse(bundle, ["train"], {"weights": None, "device_name": "cpu"}).get_parsed_content("network")
    network.load_state_dict(network.state_dict() | fits)
    save_weights(network, folder / "start.safetensors")
    return folder / "start.safetensors"


def highest_level(bundle: Bundle) -> float:
    """The noise level from which the parent draws images: high, but one that it was trained on.

    Raises InputError for a parent that was trained on little noise alone, so that its own images show through at any level.
    """
    with quiet_monai(), unwrapped():
        sigmas = parse(bundle, ["train"], {}).get_parsed_content("sigmas")
    drawn = sigmas(4096, torch.Generator().manual_seed(0))
    level = float(f"{min(HIGHEST, float(drawn.quantile(QUANTILE))):.2g}")
    if level < LEAST_DRAW:
        words = f"--replay samples: the bundle was trained on noise up to {level:g} alone, so it draws no images of its own"
        raise InputError(f"{words}; give a folder or datalist of old data")
    return level


def trial(parser, autocast: str, say: Say) -> Trial:
    """Times a few steps of a parsed train.yaml, whose networks are thrown away afterwards."""
    import resource

    with quiet_monai(), lines_of_errors():
        say("reading the data")
        trainer = parser.get_parsed_content("train::trainer")
        given = (
            parser.get_parsed_content("train::trainer::step"),
            trainer,
            parser.get_parsed_content("train::dataset"),
        )
        seconds, chosen = _pace(*given), None
        if autocast == "auto" and hasattr(trainer.inferer, "autocast"):
            trainer.inferer.autocast = "bfloat16"
            faster = _pace(*given)
            seconds, chosen = (faster, "bfloat16") if faster < PAYS * seconds else (seconds, None)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        memory = max(memory, torch.cuda.max_memory_allocated() / 2**30)
    return Trial(seconds, *trainable(trainer.network), memory, chosen)


def untried(parser) -> Trial:
    """The size of the network of a parsed train.yaml, of which nothing will train."""
    with quiet_monai(), unwrapped():
        return Trial(0.0, 0, trainable(parser.get_parsed_content("network"))[1], 0.0)


def _pace(step: Callable, trainer: Engine, batches) -> float:
    """Seconds a step, the quickest of a few."""
    seconds = []
    for k in range(TRIALS + 1):
        start = time.perf_counter()
        trainer.state.iteration = k + 1
        step(trainer, batches[k % len(batches)])
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def train(parser, say: Say) -> dict:
    """Runs a parsed train.yaml to its end; the line of the log before the first step, that of the best, and the last.

    Raises InputError where the loss is not finite: the last good weights are then beside the log.
    """
    output = Path(parser["output_dir"])
    with quiet_monai(), lines_of_errors(output):
        trainer = parser.get_parsed_content("train::trainer")
        Progress(parser.get_parsed_content("validate::evaluator"), say, output / LOG).attach(trainer)
        parser.get_parsed_content("run")
        best = next(handler for handler in parser.get_parsed_content("train::callbacks") if hasattr(handler, "step"))
    return outcome(output, best.step)


def validated(parser) -> dict[str, float]:
    """What a parsed train.yaml validates of the weights that it starts from."""
    with quiet_monai(), lines_of_errors():
        evaluator = parser.get_parsed_content("validate::evaluator")
        evaluator.run()
    return {name: round(value, 3) for name, value in evaluator.state.metrics.items() if math.isfinite(value)}


def taken(parser) -> dict:
    """Takes the weights that a parsed train.yaml starts from as they are, beside a log of one line; what the log tells."""
    from diffzoo.networks.weights import save_weights

    output, line = Path(parser["output_dir"]), {"step": 0, **validated(parser), "seconds": 0.0}
    output.mkdir(parents=True, exist_ok=True)
    (output / LOG).write_text(json.dumps(line) + "\n", encoding="utf-8")
    save_weights(parser.get_parsed_content("network"), output / WEIGHTS)
    return outcome(output, 0)


def outcome(output: Path, step: int) -> dict:
    """What the log tells: first, best and last line."""
    lines = [json.loads(line) for line in (output / LOG).read_text(encoding="utf-8").splitlines()]
    best = next((line for line in lines if line["step"] == step), lines[-1])
    return {"first": lines[0], "best": best, "last": lines[-1]}


@contextmanager
def lines_of_errors(output: Path | None = None) -> Iterator[None]:
    """InputErrors come out of MONAI's wrapping as they are, and a loss that is not finite as one."""
    try:
        with unwrapped():
            yield
    except Exception as error:
        cause = error
        while cause is not None and not isinstance(cause, ArithmeticError):
            cause = cause.__cause__ or cause.__context__
        if cause is None or isinstance(error, InputError):
            raise
        there = output is not None and (output / WEIGHTS).is_file()
        remedy = f"; the last good weights are kept in {output / WEIGHTS}" if there else ""
        raise InputError(f"training stopped at {str(cause).partition('; lower')[0]}{remedy}: lower --learning-rate") from error


class Progress:
    """Tells of a training as it goes: a bar with loss, validation and time left on a terminal, else a line each validation."""

    def __init__(self, evaluator: Engine, say: Say, log: Path) -> None:
        self.evaluator, self.say, self.log, self.bar = evaluator, say, log, None
        self.metric: Mapping[str, float] = {}

    def attach(self, engine: Engine) -> None:
        self.evaluator.add_event_handler(Events.COMPLETED, self._validated, engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._close)

    def _start(self, engine: Engine) -> None:
        from tqdm import tqdm

        self.started, self.first = time.monotonic(), engine.state.iteration
        total = engine.state.max_epochs * engine.state.epoch_length
        self.bar = tqdm(total=total, initial=self.first, desc="steps", leave=False, disable=None, ncols=100)

    def _step(self, engine: Engine) -> None:
        self.bar.set_postfix_str(f"loss {engine.state.output['loss']:.4g} {self._remaining()}", refresh=False)
        self.bar.update()

    def _remaining(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.metric.items())

    def _validated(self, trainer: Engine) -> None:
        self.metric = dict(self.evaluator.state.metrics)
        done, total = trainer.state.iteration, trainer.state.max_epochs * trainer.state.epoch_length
        if not self.bar.disable or done == getattr(self, "last", -1):
            return
        self.last = done
        loss = f"loss {trainer.state.output['loss']:.4g}, " if done > self.first else ""
        spent = time.monotonic() - self.started
        left = f", {duration(spent / (done - self.first) * (total - done))} left" if done > self.first else ""
        self.say(f"step {done} of {total}: {loss}{self._remaining()}{left}")

    def _close(self, engine: Engine, error: Exception | None = None) -> None:
        if self.bar is not None:
            self.bar.close()
        if error is not None:
            raise error

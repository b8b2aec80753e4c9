"""The train.yaml of a fine-tuned bundle: that of its parent, with what fine-tuning adds, as content and as text."""

import copy
import json
from collections.abc import Mapping
from pydoc import locate

from diffzoo.errors import InputError
from diffzoo.zoo.finetune.choices import METHODS, VALIDATIONS, Choices

HANDLERS, STEPS, REPLAY = "diffzoo.components.handlers", "diffzoo.training.steps", "diffzoo.training.replay"
TOLD, OLD = f"{STEPS}.MemoryTold", f"{REPLAY}.OldBatches"
SCALARS = ("epochs", "steps_per_epoch", "minutes", "batch_size", "learning_rate", "ema_decay", "weights", "resume", "seed")
CHECKPOINT = 3.0  # minutes between two checkpoints
ADDED = (
    "first",
    "patience",
    "accumulate",
    "autocast",
    "replay",
    "replay_weight",
    "replay_list",
    "replay_batches",
    "replayed",
)  # by this
COMMENTS = {
    "method": "of fine-tuning: full (all weights), lora (low-rank adapters, folded in at the end), head (the last layers)",
    "rank": "of the adapters of lora",
    "replay": "null, or @replayed to hold on to what the parent could do",
    "replay_weight": "of that against the loss of the new data",
    "first": "validate before the first step too: then nothing worse than the start is kept",
    "patience": "validations without a gain after which it stops; 0 = never",
    "learning_rate": "peak of AdamW, after a warm-up; then half a cosine",
    "accumulate": "parts in which a batch goes through, for less memory; the result is the same",
    "autocast": "null, or bfloat16 where the machine is fast in it",
}


def adapted(parent: Mapping, choices: Choices, epochs: int, per_epoch: int, top: float = 5.0) -> dict:
    """The content of the new train.yaml; top: the noise level from which the parent draws images for replay.

    Raises InputError where the parent's config lacks a part, or does not know what is chosen.
    """
    content = copy.deepcopy(dict(parent))
    if lacking := [key for key in (*SCALARS, "network", "train", "validate") if key not in content]:
        raise InputError(f"the train.yaml of the bundle has no {lacking[0]!r}: it cannot be fine-tuned")
    steps = epochs * per_epoch
    rate = METHODS[choices.method] * content["learning_rate"] if choices.learning_rate is None else choices.learning_rate
    decay = min(content["ema_decay"], max(0.5, 1 - 10 / steps)) if choices.ema is None else choices.ema
    content |= {
        "epochs": epochs,
        "steps_per_epoch": per_epoch,
        "learning_rate": float(f"{rate:.6g}"),
        "ema_decay": round(decay, 5),
    }
    content |= {"batch_size": choices.batch_size or content["batch_size"], "seed": choices.seed, **choices.settings}
    _handlers(content, choices, epochs, steps)
    return _update(_method(content, choices), choices, top)


def fitted(content: Mapping, epochs: int) -> dict:
    """The same for another number of epochs."""
    config = copy.deepcopy(dict(content)) | {"epochs": epochs}
    config["train"]["callbacks"]["every"] = max(1, epochs // VALIDATIONS)
    return config


def _handlers(content: dict, choices: Choices, epochs: int, steps: int) -> None:
    """The parent's handlers, of which the log begins before the first step, and the best average is kept and drawn."""
    handlers = content["train"].get("callbacks")
    if not isinstance(handlers, dict) or handlers.get("_target_") != HANDLERS:
        raise InputError(f"train::callbacks of the bundle are not made by {HANDLERS}: it cannot be fine-tuned")
    if "evaluator" not in handlers:
        raise InputError("the train.yaml of the bundle validates nothing: there is nothing to choose the best weights by")
    handlers |= {"warmup": max(1, min(100, steps // 10)), "every": max(1, epochs // VALIDATIONS)}
    handlers |= {"first": "@first", "patience": "@patience", "checkpoint_minutes": CHECKPOINT}
    handlers |= {"tensorboard": True} if choices.tensorboard else {}


def _method(content: dict, choices: Choices) -> dict:
    """The network by its method; as long as it is "full", the file trains as its parent's does."""
    content = {key: value for key, value in content.items() if key not in ("method", "rank", "methods")}
    if "prepared" in content:  # the parent was fine-tuned itself
        content["network"] = content.pop("prepared")
    if choices.method == "full":
        return content
    other = {"_target_": f"diffzoo.networks.lora.{'add' if choices.method == 'lora' else 'freeze'}", "network": "@prepared"}
    scalars = {"method": "full"} | ({"rank": choices.rank} if choices.method == "lora" else {})
    if choices.method == "lora":
        other |= {"rank": "@rank", "seed": "@seed"}
    chosen = {"_target_": "diffzoo.tasks.choose.choose", "name": "@method", "among": "@methods", "what": "method"}
    config = {"prepared": content["network"], "methods": {"full": "@prepared", choices.method: other}, "network": chosen}
    return _before(_after(content, "resume", scalars), "network", config, drop="network")


def _update(content: dict, choices: Choices, top: float) -> dict:
    """The training step with accumulation and replay, and a word where memory is short."""
    trainer = content["train"]["trainer"]
    place = content["train"] if trainer["step"] == "@train::step" else trainer  # overlays may lay something over it
    step = place["step"]
    step = step["step"] if step["_target_"] == TOLD else step
    term = getattr(locate(step["_target_"]), "REPLAY_TERM", None)
    ours = term is not None
    if not ours and (choices.accumulate > 1 or choices.replay):
        raise InputError(f"the bundle trains by {step['_target_'].rpartition('.')[2]}, which knows no accumulation and no replay")
    scalars = {"first": False, "patience": choices.patience}
    content = {key: value for key, value in content.items() if key not in ADDED}
    if ours:
        scalars |= {"accumulate": choices.accumulate}
        step |= {"accumulate": "@accumulate", "replay": "@replay"}
        scalars |= {"replay": None}
        if choices.replay:
            scalars |= {"replay_weight": choices.replay_weight}
            content = _after(content, "train", replayed(content, choices.replay != "samples", top, term == OLD))
    inferer = content["train"].get("inferer", {})
    if isinstance(inferer, dict) and inferer.get("_target_") == "diffzoo.tasks.denoise.DenoiseInferer":
        inferer["autocast"] = "@autocast"
        scalars |= {"autocast": None if choices.autocast in ("auto", "none") else choices.autocast}
    elif choices.autocast not in ("auto", "none"):
        raise InputError("the bundle trains by an inferer that knows no --autocast")
    place["step"] = {"_target_": TOLD, "step": step}
    return _after(content, "resume", scalars)


def replayed(content: Mapping, data: bool, top: float = 5.0, pairs: bool = False) -> dict:
    """What `@replayed` refers to: the parent's estimates at old data (the replay list), or at images that it draws itself.

    Of a bundle that learns from pairs: its objective on pairs of old data. Raises InputError where there is no way to it.
    """
    train, noise = content["train"], {"noise": "@noise"} if "noise" in content else {}
    config = {}
    if data:
        source = next((key for key in train if "@dataset_dir" in json.dumps(train[key])), None)
        if source is None or "dataset" not in train:
            remedy = "" if pairs else ": --replay samples needs none"
            raise InputError(f"the train.yaml of the bundle does not read its data by a list{remedy}")
        config["replay_list"] = train[source] | {"part": "replay"}
        config["replay_batches"] = json.loads(json.dumps(train["dataset"]).replace(f"@train::{source}", "@replay_list"))
    elif pairs:
        raise InputError("--replay samples: the bundle draws no pairs itself; give a folder or datalist of old data")
    else:
        config["replay_batches"] = {
            "_target_": f"{REPLAY}.ParentSamples",
            **{"network": "@network", "precond": "@precond", "like": "@train::dataset", "sigma": top, "seed": "@seed", **noise},
        }
    term = {"batches": "@replay_batches", "weight": "@replay_weight"}
    if pairs:
        return config | {"replayed": {"_target_": OLD, **term}}
    own = {"network": "@network", "sigmas": "@sigmas", "seed": "@seed"}
    return config | {"replayed": {"_target_": f"{REPLAY}.Replay", **own, **term, **noise}}


def _after(content: Mapping, key: str, more: Mapping) -> dict:
    """content with more keys after one of its own."""
    return {k: v for name, value in content.items() for k, v in ({name: value} | (more if name == key else {})).items()}


def _before(content: Mapping, key: str, more: Mapping, drop: str = "") -> dict:
    """content with more keys before one of its own, or in its place."""
    values = {}
    for name, value in content.items():
        values |= (dict(more) if name == key else {}) | ({} if name == drop else {name: value})
    return values

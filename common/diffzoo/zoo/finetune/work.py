"""The stages of a fine-tuning, each of which leaves in the work folder what a resumed run needs."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_json
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.finetune import make, measure, recipe, train, words
from diffzoo.zoo.finetune.choices import Choices, duration
from diffzoo.zoo.finetune.find import Scan, find_scans
from diffzoo.zoo.finetune.look import Look, look_at
from diffzoo.zoo.finetune.request import PLAN, Request, layout_within, lengths
from diffzoo.zoo.finetune.split import shared, split
from diffzoo.zoo.session import Session

DONE = "trained.json"
Say = Callable[[str], None]


def look(request: Request, pattern: str | None, say: Say) -> Look:
    """Looks at every scan, tells what there is, writes look.json and contact_sheet.png; InputError for data that cannot do."""
    valid, task = request.parent.metadata["valid_range"], request.parent.task
    scans = find_scans(request.data, task.truth, pattern)
    load = _loader(request) if task.single_scans else None
    seen = []
    for scan in scans:
        seen.append(look_at(scan, valid, load, task.truth))
        if len(seen) % 10 == 0:
            say(f"looked at {len(seen)} of {len(scans)} scans")
    report = Look(seen, valid, task.truth)
    for line in report.lines():
        say(line)
    written = report.write(request.work, f"{request.parent.name}: {report.lines()[0]}")
    say(f"see {' and '.join(str(path) for path in written)}")
    report.refuse()
    return report


def _loader(request: Request) -> Callable[[dict], object]:
    """The bundle's own reader of scans: the first transform of its preprocessing."""
    session = Session(request.parent, device="cpu", trust=request.trust)
    return session.get("preprocessing").transforms[0]


def plan(request: Request, choices: Choices, seen: Look, say: Say) -> dict:
    """Splits the scans, begins the new bundle, times a few steps, and writes down what will be done; tells it beforehand."""
    scans = [item.scan for item in seen.good]
    least = request.parent.task.least_subjects([scan.image for scan in scans])
    lists = split(scans, choices.seed, least, words.seen_before(request.parent, scans))
    if doubled := shared(lists):
        say(f"warning: {len(doubled)} subjects are in more than one list, which flatters the figures")
    write_json(request.work / "data" / "datalist.json", _datalist(lists, choices, seen.truth))
    start = train.start_weights(request.parent, choices.match, request.work, say, choices.weights)
    text = yaml.safe_load(request.parent.config("train").read_text(encoding="utf-8"))
    top = train.highest_level(request.parent) if choices.replay == "samples" else 0.0
    for part in ("before", "after", "train", "draft"):
        shutil.rmtree(request.work / part, ignore_errors=True)  # of a run that was broken off before it had a plan
    (request.work / DONE).unlink(missing_ok=True)
    epochs, per_epoch = lengths(choices, text.get("steps_per_epoch", 1))
    content = recipe.adapted(text, choices, epochs, per_epoch, top)
    draft = make.begin(request.work / "draft" / request.place.name, request.parent, content)
    parser = _parsed(request, draft, choices, start)
    began = time.monotonic()
    trial = train.trial(parser, choices.autocast, say) if choices.steps != 0 else train.untried(parser)
    read = time.monotonic() - began
    if choices.minutes is not None:
        epochs, per_epoch = layout_within(choices.minutes, trial.seconds)
        content = recipe.adapted(text, choices, epochs, per_epoch, top)
    content = recipe.fitted(content, epochs) | ({"autocast": trial.autocast} if trial.autocast else {})
    make.train_config(draft.root, request.parent, content, "Fine-tuning under way.", "")
    stored = {
        "parent": request.parent.metadata["weights_sha256"],
        "choices": choices.record | {"replay": choices.replay and str(choices.replay), "weights": choices.weights},
        "content": content,
        "start": str(start),
        "trains": trial.trains,
        "parameters": trial.parameters,
        "data": "; ".join(seen.lines()[:2]),
    }
    write_json(request.work / PLAN, stored)
    steps = 0 if choices.steps == 0 else epochs * per_epoch
    say(_plan_line(request, trial, steps, lists))
    say(_stages_line(request, choices, trial, steps, lists, read))
    return stored


def _stages_line(request: Request, choices: Choices, trial: train.Trial, steps: int, lists: Mapping, read: float) -> str:
    """What will be done in turn, and how long each takes as far as it is known by now."""
    plans = [] if choices.no_measure else measure.plans_of(request.parent, lists["test"])
    count = f"{len(plans)} evaluation{'s'[: len(plans) != 1]} of {len(lists['test'])} scan{'s'[: len(lists['test']) != 1]}"
    measuring = count if plans else "nothing"
    training = f"training, about {duration(1.1 * steps * trial.seconds)} from the first step" if steps else "no training"
    words = f"measuring before ({measuring}), {training}, measuring after ({measuring})"
    return f"to come: {words}; reading and a trial took {duration(read)}"


def _plan_line(request: Request, trial: train.Trial, steps: int, lists: Mapping) -> str:
    counts = ", ".join(f"{len(scans)} {part}" for part, scans in lists.items())
    if not steps:
        return f"{request.parent.name} to {request.place.name}: {counts}; nothing trains: the weights given are taken as they are"
    share = f"{trial.trains / 1e6:.2f} million parameters train, {trial.trains / trial.parameters:.1%} of the network's"
    pace = f"{steps} steps of {trial.seconds:.2g} s, about {duration(1.1 * steps * trial.seconds)}"
    mixed = f", {trial.autocast}" if trial.autocast else ""
    return f"{request.parent.name} to {request.place.name}: {counts}; {share}; {pace}{mixed}, {trial.memory_gb:.1f} GB of memory"


def _datalist(lists: Mapping[str, list[Scan]], choices: Choices, truth: str | None) -> dict:
    entries = {part: [scan.entry for scan in scans] for part, scans in lists.items()}
    if choices.replay in (None, "samples"):
        return entries
    old = find_scans(choices.replay, truth)
    chosen = [scan for scan in old if scan.part in (None, "training")]
    if not chosen:
        raise InputError(f"--replay {choices.replay}: no training list in it")
    return entries | {"replay": [scan.entry for scan in chosen]}


def _lists(request: Request) -> dict[str, list[Scan]]:
    """The lists that were written down."""
    stored = json.loads((request.work / "data" / "datalist.json").read_text(encoding="utf-8"))
    return {
        part: [
            Scan(
                Path(e["image"]),
                Path(e["image"]).name,
                e["subject"],
                part,
                {k: v for k, v in e.items() if k not in ("image", "subject")},
            )
            for e in stored[part]
        ]
        for part in words.NAMES
    }


def _parsed(request: Request, draft: Bundle, choices: Choices, start: str | Path, minutes: float = 0):
    """The parser of the new train.yaml, with what is local and what was chosen, as MONAI's command line would set them."""
    from diffzoo.zoo.session import parse

    local = {"dataset_dir": str(request.work / "data"), "output_dir": str(request.work / "train")}
    local |= {"weights": str(start), "device_name": request.device, "minutes": minutes, "first": True}
    local |= {"method": choices.method} if choices.method != "full" else {}
    local |= {"replay": "@replayed"} if choices.replay else {}
    return parse(draft, ["train"], local)


def go_on(request: Request, choices: Choices, stored: Mapping, say: Say) -> Path:
    """Measures, trains, measures again and writes every document; the folder of the whole bundle, still in the work folder."""
    lists = _lists(request)
    draft = make.begin(request.work / "draft" / request.place.name, request.parent, stored["content"])
    plans = [] if choices.no_measure else measure.plans_of(request.parent, lists["test"])
    if plans:
        say(f"measuring {request.parent.name}: {', '.join(plan_of.what for plan_of in plans)}")
    place, began = (request.device, request.trust, say), time.monotonic()
    before = measure.measured(request.parent, lists["test"], plans, request.work / "before", *place)
    if plans:
        say(f"measured in {duration(time.monotonic() - began)}, which it takes once more after the training")
    outcome = _train(request, choices, stored, draft, say)
    data = stored["data"]
    story = words.Story(request.parent, draft.name, choices, lists, data, stored["trains"], stored["parameters"], outcome)
    if outcome["best"]["step"] == 0 and choices.steps != 0:
        start = "those that were given" if choices.weights else "those of the parent"
        say(f"warning: validation never rose above that of the start: the weights are {start}")
    metadata = make.weigh(draft.root, request.work / "train", story)
    after = measure.measured(
        metadata, lists["test"], [plan_of for plan_of in plans if plan_of.name in before], request.work / "after", *place
    )
    weights = metadata.metadata["weights_sha256"]
    results = measure.entries_of(request.parent.task, plans, before, after, weights)
    results |= {measure.VALIDATION: measure.validation_entry(outcome, weights)}
    say(make.tell(draft.root, story, results, stored["content"], request.work, request.device))
    for line in make.broken(draft.root):
        say(f"warning: verify: {line}")
    return draft.root


def _train(request: Request, choices: Choices, stored: Mapping, draft: Bundle, say: Say) -> dict:
    """Trains, or goes on, or takes what was trained before; what the log tells of it."""
    output, marked = request.work / "train", request.work / DONE
    if marked.is_file():
        return json.loads(marked.read_text(encoding="utf-8"))
    minutes = 0.0
    if choices.minutes is not None:
        minutes = max(choices.minutes - _spent(output / train.LOG) / 60, 0.01)
    parser = _parsed(request, draft, choices, stored["start"], minutes)
    began = time.monotonic()
    outcome = train.taken(parser) if choices.steps == 0 else train.train(parser, say)
    if choices.weights:  # the log begins with these, and not with the parent
        outcome["first"] = train.validated(_parsed(request, draft, choices, request.parent.weights))
    last, best = outcome["last"], outcome["best"]
    if choices.steps != 0:
        say(f"trained {last['step']} steps in {duration(time.monotonic() - began)}; the best average is of step {best['step']}")
    write_json(marked, outcome)
    return outcome


def _spent(log: Path) -> float:
    """Seconds from the first step on of the parts of a training that were run before."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    if not lines:
        return 0.0
    return lines[-1]["seconds"] - (lines[0]["seconds"] if lines[0]["step"] == 0 else 0.0)

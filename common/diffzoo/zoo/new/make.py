"""`diffzoo new`: a bundle that works from the first minute, for its author to change."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.tasks.task import Task, names, task_of
from diffzoo.zoo.bundle import Bundle, find, installed
from diffzoo.zoo.new import configs, results, train, words
from diffzoo.zoo.scan import scan
from diffzoo.zoo.tables import compact_json, entry_of, results_of, results_text
from diffzoo.zoo.trust import content_hash
from diffzoo.zoo.versions import NAME

LONGEST = 40  # characters of a name
Say = Callable[[str], None]


def new(
    name: str,
    like: str | None = None,
    task: str | None = None,
    folder: str | Path | None = None,
    steps: int | None = None,
    say: Say = lambda line: None,
) -> Path:
    """Makes the bundle `folder`/`name` and returns it: a copy of the bundle `like` with its weights, or one for a `task`.

    For a task (a folder of diffzoo.tasks) a smaller network is trained for `steps` steps on simulated volumes. Both are
    measured on simulated volumes, and say of themselves that they are scaffolds. folder: by default ./bundles where it is, else
    the current one. Raises InputError, with nothing written, for a bad or taken name, an unknown bundle or task, a bundle that
    the scan refuses or that lacks a part, and a folder that cannot be written.
    """
    place = _checked_place(name, folder)
    if (like is None) == (task is None):
        raise InputError(f"give --like BUNDLE or --task TASK, one of the two; tasks: {', '.join(names())}")
    chosen = None if task is None else task_of(task)
    if like is not None and steps is not None:
        raise InputError("--steps goes with --task: with --like nothing is trained")
    steps = chosen.steps if chosen and steps is None else steps
    if steps is not None and not 1 <= steps <= 100_000:
        raise InputError(f"steps={steps}: give 1 to 100000")
    parent = _checked_parent(like or chosen.pattern)
    if chosen is not None:
        train.makeable(parent, chosen.without)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=f".{name}.") as workspace:
            root = Path(workspace, name)
            _Maker(root, parent, chosen, steps, say).make()
            _check_free(place / name)  # somebody else may have made it meanwhile
            os.rename(root, place / name)
    except OSError as error:
        raise InputError(f"{place} cannot be written ({error.strerror or error}): choose another folder with -o") from error
    return place / name


def _checked_place(name: str, folder: str | Path | None) -> Path:
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise InputError(f"{name!r} is no name for a bundle: use a-z, 0-9 and _, a letter first, {LONGEST} at most")
    place = Path(folder) if folder is not None else Path("bundles") if Path("bundles").is_dir() else Path()
    _check_free(place / name)
    if taken := next((bundle for bundle in installed() if bundle.name == name), None):
        raise InputError(f"there is a bundle {name} already ({taken.root}): choose another name")
    above = next(p for p in (place, *place.absolute().parents) if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{place} cannot be made or written: {above} is not a folder that can be written to")
    return place


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise InputError(f"{path} is there already: choose another name, or another folder with -o")


def _checked_parent(name: str) -> Bundle:
    """The bundle, of which the scan refuses nothing and nothing is missing."""
    parent = find(name)
    refused = [finding for finding in scan(parent.root) if finding.severity == "refuse"]
    if refused:
        more = f" (and {len(refused) - 1} more)" if refused[1:] else ""
        raise InputError(f"{parent.name} fails the scan: {refused[0]}{more}; `diffzoo scan {parent.root}` shows all")
    for config in ("inference", "evaluate", "train"):
        parent.config(config)
    parts = ("models/model.safetensors", "LICENSE", "configs/logging.conf", "docs/data_license.txt")
    if lacking := [part for part in parts if not (parent.root / part).is_file()]:
        raise InputError(f"{parent.name} lacks {', '.join(lacking)}: it cannot be a pattern")
    _ = parent.task  # InputError for one that is not known
    return parent


def kind_of(parent: Bundle) -> str:
    """The kind of `diffzoo simulate` that a bundle is tried on: that of its own sample where there is one, else its task's."""
    from diffzoo.zoo.new.simulate import KINDS

    own = parent.metadata.get("sample")
    return own if own in KINDS else parent.task.simulation


class _Maker:
    """One scaffold in the making, in a folder that is renamed when it is whole."""

    def __init__(self, root: Path, parent: Bundle, task: Task | None, steps: int | None, say: Say) -> None:
        self.root, self.parent, self.steps, self.say = root, parent, steps, say
        self.training, self.without = (task.training, task.without) if task else (None, ())
        self.name, self.work, self.kind = root.name, root.parent, kind_of(parent)
        self.data = self.work / "simulated"

    def make(self) -> None:
        for part in ("configs", "models", "docs"):
            (self.root / part).mkdir(parents=True)
        shutil.copyfile(self.parent.root / "LICENSE", self.root / "LICENSE")
        shutil.copyfile(self.parent.root / "configs" / "logging.conf", self.root / "configs" / "logging.conf")
        for stem in self._stems:
            self._config(stem, f"Scaffold from {self._named}; not measured yet.")
        self.seed = self._simulate()
        if self.training is None:
            for path in sorted((self.parent.root / "models").glob("*.safetensors")):
                shutil.copyfile(path, self.root / "models" / path.name)
        else:
            self._train()
        self._tell()

    def _simulate(self) -> int:
        """Simulates volumes, none of which is in a list of the parent whose weights are taken; returns their seed."""
        from diffzoo.zoo.archive import sha256_of
        from diffzoo.zoo.new.simulate import simulate

        parts = {} if self.training is not None else self.parent.metadata["training_data"]["split"]
        taken = {digest for part, content in parts.items() if part != words.MEASURED for digest in content["files"].values()}
        for seed in range(1 if taken else 0, 100):  # a scaffold has seen those of seed 0
            simulate(self.kind, self.data, seed=seed)
            if not taken & {sha256_of(path) for path in self.data.iterdir()}:
                return seed
            shutil.rmtree(self.data)
        raise InputError(f"{self.parent.name} was trained on all that can be simulated: choose another bundle")

    @property
    def _stems(self) -> list[str]:
        """The parent's configs that are taken."""
        names = sorted(path.stem for path in (self.parent.root / "configs").glob("*.yaml"))
        return [name for name in names if not any(word in name for word in self.without)]

    @property
    def _named(self) -> str:
        return f"{self.parent.name} {self.parent.metadata['version']}"

    def _config(self, stem: str, note: str | None) -> None:
        """Writes a config of the parent with what is told of the new bundle in its first comment."""
        text = configs.renamed(self.parent.config(stem).read_text(encoding="utf-8"), self.name, self.parent.name, note)
        if self.training is not None:
            text = configs.narrowed(text)
            if stem == "train":
                text = configs.with_values(text, {**self.training, "epochs": self._epochs, "steps_per_epoch": self._per_epoch})
        (self.root / "configs" / f"{stem}.yaml").write_text(text, encoding="utf-8")

    @property
    def _epochs(self) -> int:
        return max(1, self.steps // 50)

    @property
    def _per_epoch(self) -> int:
        return -(-self.steps // self._epochs)

    def _train(self) -> None:
        """Runs the new train.yaml on the simulated volumes, and whatever makes the other weight files."""
        bundle, bundle_task = Bundle(self.root), self.parent.task
        names = train.weight_files(self.parent.root, self.without)
        before, after = (bundle_task.makers(late) for late in (False, True))
        self._untrained(before, names)
        for name in (name for name in names if name not in {**before, **after}):
            which = "a small network" if name == "model" else f"its twin {name}"
            self.say(f"training {which} for {self._epochs * self._per_epoch} steps on simulated {self.kind} volumes")
            for stage in train.stages_of(bundle) if name == "model" else [train.configs_of(bundle, name)]:
                self._stage(bundle, name, stage, later=name == "model" and len(stage) > 1)
        self._untrained(after, names)

    def _untrained(self, makers: Mapping[str, Callable], names: list[str]) -> None:
        """Writes the weight files that are made without a training."""
        for name in (name for name in names if name in makers):
            makers[name](train.parsed(Bundle(self.root)), self.data, self.root / "models" / f"{name}.safetensors")

    def _stage(self, bundle: Bundle, name: str, stage: list[str], later: bool) -> None:
        """One training of a weight file; the later stages of one start from what is there, and train another part of it."""
        output, ending = self.work / stage[-1], stage[-1].removeprefix("train")
        short = {"epochs": self._epochs, "steps_per_epoch": self._per_epoch, "batch_size": 2, "augmented": 2}
        train.trained(bundle, self.data, output, stage, short if later else {}, self.say)
        shutil.copyfile(output / "model.safetensors", self.root / "models" / f"{name}.safetensors")
        shutil.copyfile(output / "train_log.jsonl", self.root / "docs" / f"train_log{ending}.jsonl")

    @staticmethod
    def _log(name: str) -> str:
        """The file in docs/ with the log of the training that made a weight file."""
        return "train_log.jsonl" if name == "model" else f"train_log_{name}.jsonl"

    def _tell(self) -> None:
        """Measures the bundle on the simulated test list, and writes every document."""
        from diffzoo.facts import sha256
        from diffzoo.imaging.io.files import write_json
        from diffzoo.training.datalist import PARTS, entries
        from diffzoo.zoo.verify import reference
        from diffzoo.zoo.work import evaluate_cases

        bundle, weights = Bundle(self.root), sha256(self.root / "models" / "model.safetensors")
        ran = None if self.training is None else self._epochs * self._per_epoch
        phantoms = bool((self.training or {}).get("phantoms"))
        origin = words.Origin(self.parent, content_hash(self.parent.root), ran, self.kind, self.seed, phantoms)
        split = words.split_of({part: entries(str(self.data), part) for part in PARTS}, self.data)
        metadata = words.metadata_for(self.name, origin, weights, split)
        others = {f"models/{stem}.safetensors": self.root / "models" / f"{stem}.safetensors" for stem in self._others}
        metadata |= {"files_sha256": {path: sha256(file) for path, file in others.items()}} if others else {}
        write_json(self.root / "configs" / "metadata.json", metadata)
        recipe = results.recipe_for(bundle)
        plan = recipe["evaluations"][results.EVALUATION]
        self.say("measuring it on simulated volumes")
        metrics = evaluate_cases(str(self.root), self.data, "test", self.work / "out", plan["settings"], device="cpu")
        entry = entry_of(plan, metrics, weights, bundle.task)
        recipe["headline_text"] = results.headline_text(bundle, recipe["methods"], entry)
        measured = {results.EVALUATION: entry}
        headline = "scaffold on simulated data: " + recipe["headline_text"].format(**entry)
        command = words.command_of(self.name, origin, plan)
        metadata |= {"headline": headline, "eval_metrics": results.described(entry, command)}
        pace = results.pace(entry)
        write_json(self.root / "configs" / "metadata.json", metadata)
        (self.root / "docs" / "results.json").write_text(results_text(measured), encoding="utf-8")
        write_json(self.root / "docs" / "recipe.json", recipe)
        (self.root / "docs" / "data_license.txt").write_text(words.data_license(self.name, origin), encoding="utf-8")
        text = words.card(self.name, origin, metadata, results_of(measured, recipe, bundle.task), pace)
        (self.root / "docs" / "README.md").write_text(text, encoding="utf-8")
        shutil.copyfile(self.work / "out" / "preview.png", self.root / "docs" / "preview.png")
        content = compact_json(reference.measure(self.root, self.work / "reference"))
        (self.root / "docs" / "reference.json").write_text(content, encoding="utf-8")
        self._headers(headline, pace)
        self.say(headline)

    @property
    def _others(self) -> list[str]:
        """Names of the weight files beside model.safetensors."""
        return train.weight_files(self.root)[1:]

    def _headers(self, headline: str, pace: str) -> None:
        """Tells in the first comment of each config what was measured, now that it is known."""
        notes = {path.stem: f"Scaffold from {self._named}; not measured here." for path in (self.root / "configs").glob("*.yaml")}
        notes |= {"evaluate": None, "inference": f"Measured: {headline}; {pace}."}
        for name in train.weight_files(self.root):
            stem, log = train.configs_of(self.parent, name)[-1], self.root / "docs" / self._log(name)
            if stem in notes and self.training is None:
                notes[stem] = f"The weights are those of {self._named}: this config was not run."
            elif stem in notes:
                last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
                notes[stem] = f"The weights of this scaffold: {last['step']} steps, {last['seconds']:.0f} s."
        for stem, line in notes.items():
            self._config(stem, line)

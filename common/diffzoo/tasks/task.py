"""What the commands need to know of a task: each folder of `tasks` with a `task.py` has one `TASK`. Light: no torch here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.names import nearest

Rows = list[list[str]]  # cells of a table, the second row being its rule
Entries = Mapping[str, Mapping]  # evaluations of docs/results.json by name


@dataclass(frozen=True)
class Plan:
    """One evaluation: its name, what it is in words, the settings, and keys that every entry of the list gets."""

    name: str
    what: str
    settings: tuple[str, ...] = ()
    more: Mapping = ()


class Task:
    """The defaults are those of a task that takes one scan and gives volumes on its grid; a folder's TASK says what differs.

    sample: simulated volume that the inference takes, scan: the one that a training takes (kinds of `imaging.phantoms.volumes`);
    a bundle that takes another one than its task tells it as "sample" in its metadata.
    images: keys of the scans of a case, in the order in which a command takes them. truth: key of a datalist entry for what
    belongs to a scan. simulation: kind of `diffzoo simulate`. example and folder: what a person gives to `run -i` and to MONAI's
    command. anatomy: what of a simulated list has an anatomy of its own. single_scans: whether a scan can be read by itself.
    trivial: methods that need no model, which the bundle's own, the first of `own` that a case has, should beat in `chief`.
    pattern: the bundle that `diffzoo new --task` begins with, less configs and weights with a word of `without`; training: values
    of its train.yaml for `steps` steps, about a minute on one core.
    """

    title: str = ""
    pipeline_tag = "image-to-image"  # by which model hubs sort a card
    sample = scan = "slab"
    images: tuple[str, ...] = ("image",)
    truth: str | None = None
    simulation, example, folder, anatomy = "MR", "scan.nii.gz", "scan.nii.gz", "slice"
    single_scans = True
    own: tuple[str, ...] = ()
    trivial: tuple[str, ...] = ()
    chief = "psnr"
    pattern: str = ""
    training: Mapping[str, object] = {}
    without: tuple[str, ...] = ()
    steps = 500

    @property
    def name(self) -> str:
        """The folder of the task."""
        return type(self).__module__.split(".")[-2]

    def truth_files(self, folder: Path, path: Path, array, affine, seeds: Sequence[int]) -> dict[str, str]:
        """Writes what an evaluation of a simulated case needs beside its scans, and gives their keys and paths.

        path: the scan, which may be written anew; array [X, Y, Z] and affine: its content; seeds: of the scans, its own first.
        """
        return {}

    def partner_files(self, folder: Path, path: Path, array, affine, seed: int, kind: str = "") -> dict[str, str]:
        """Writes the images without which a simulated scan teaches nothing, and gives their keys and paths; as `truth_files`.

        kind: of the scan, where it is not that of the task.
        """
        return {}

    def least_subjects(self, images: Sequence[Path]) -> int:
        """How many subjects a list of a fine-tuning needs at least."""
        return 1

    def plans(self, parameters: Mapping, labelled: bool) -> list[Plan]:
        """What can be measured on a test list, given the bundle's parameters; labelled: whether each scan has its `truth`."""
        if self.truth:
            return [Plan("test", f"test list, by its {self.truth}s")] if labelled else []
        if "slices" in parameters:
            return [Plan("test", "test list, the 8 central slices of each volume", ("slices=central:8",))]
        return [Plan("test", "test list")]

    def scaffold_plan(self, parameters: Mapping) -> tuple[list[str], str]:
        """Settings of the evaluation of a new bundle on simulated volumes, and what is measured, in words."""
        if "slices" in parameters:
            return ["slices=central:1"], ", the central slice of each volume"
        return [], ""

    def headline(self, methods: Mapping[str, str], entry: Mapping) -> str:
        """A template, to be formatted by an entry of results.json, for the result in one line; methods: titles, our own first."""
        own, *others = methods
        gains = "".join(f", {{gain_db[{m}][mean]:+.1f}} dB over {methods[m]}" for m in others)
        return f"PSNR {{mean[{own}][psnr]:.1f}} dB{gains} ({{slices}} test slices)"

    def merged(self, results: Sequence[Mapping]) -> Mapping:
        """One metrics.json from those of the same evaluation under several seeds."""
        raise NotImplementedError(f"{self.name}: no evaluation under several seeds; leave out seeds")

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Why a person should doubt the result of a case, a text each.

        case: its record in report.json; changed: parameters that differ from what the bundle was measured with.
        """
        reached = {name: values[self.chief] for name, values in case.get("metrics", {}).items() if self.chief in values}
        own = next((name for name in self.own if name in reached), None)
        worse = [name for name in self.trivial if own and name in reached and reached[own] < reached[name]]
        figures = {name: f"{self.chief.upper()} {reached[own]:.3g} against {reached[name]:.3g}" for name in worse}
        return [f"worse than {name.replace('_', ' ')}, which needs no model: {text}" for name, text in figures.items()]

    def kept(self, summary: Mapping, cases: Sequence[Mapping]) -> dict:
        """What docs/results.json keeps of an evaluation: its summary, and figures a case.

        summary: metrics.json without its cases; cases: their records.
        """
        return {**summary, "cases": {case["case"]: case["metrics"] for case in cases if "metrics" in case}}

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """The tables of a model card."""
        raise NotImplementedError

    def makers(self, after: bool) -> Mapping[str, object]:
        """Weight files of a new bundle that no config trains, by stem, made before or after the trainings.

        maker(parsed, data, target) writes one; parsed(configs, settings) gives the parser of the bundle's configs, data is the
        folder of simulated volumes.
        """
        return {}


def names() -> list[str]:
    """The tasks, which are the folders with a `task.py`."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/task.py"))


def task_at(bundle_root: str | Path) -> Task:
    """The task of the bundle there, as `task_of`."""
    return task_of(json.loads((Path(bundle_root) / "configs" / "metadata.json").read_text(encoding="utf-8"))["kind"])


def task_of(name: str) -> Task:
    """The task of that name (a hyphen counts as an underscore); InputError naming the nearest otherwise."""
    folder = str(name).replace("-", "_")
    if folder not in names():
        raise InputError(f"unknown task {name!r}; {nearest(folder, names())}")
    return import_module(f"diffzoo.tasks.{folder}.task").TASK

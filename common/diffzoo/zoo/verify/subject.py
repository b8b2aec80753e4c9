"""The bundle under verification: what it says of itself, read once, and a workspace for what the checks write."""

import json
import os
import traceback
from functools import cached_property
from pathlib import Path

import yaml

from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.scan import Finding, scan
from diffzoo.zoo.verify.check import Skipped

# parameters that make a run or a training short; those that a bundle knows are used
SHORT = {"steps": 2, "average": 1, "arc": 120.0, "tv_iterations": 2, "samples": 1}
SHORT_TRAINING = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "crop": 32}
SHORT_TRAINING |= {"augmented": 1, "validation_batches": 1}
SHORT_TRAINING |= {"sizes": [32], "items": [2], "held_out": [2], "shares": [1.0], "phantoms": 1, "fields": 2}
SHORT_TRAINING |= {"validation_phantoms": 1}


class Subject:
    """A bundle folder, an earlier pack or folder of it (or None), and a folder for what the checks write.

    `results` holds what the checks so far have found, by name; a check that needs another says so by `after`.
    """

    def __init__(self, root: Path, workspace: Path, previous: Path | None = None) -> None:
        self.root, self.workspace, self.previous = Path(root).resolve(), Path(workspace), previous
        self.results: dict[str, bool | None] = {}

    def after(self, *names: str) -> None:
        """Raises Skipped where one of these checks was made and did not pass."""
        if bad := [name for name in names if not self.results.get(name, True)]:
            raise Skipped(f"waits for: {', '.join(bad)}")

    def note(self, error: Exception) -> None:
        """Shows the traceback of an unforeseen error to whoever asked for it."""
        if os.environ.get("DIFFZOO_DEBUG"):
            traceback.print_exception(error)

    def folder(self, name: str) -> Path:
        """A new folder of the workspace."""
        path = self.workspace / name
        path.mkdir(parents=True)
        return path

    @cached_property
    def refused(self) -> list[Finding]:
        """What the static scan refuses."""
        return [finding for finding in scan(self.root) if finding.severity == "refuse"]

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle as an object."""
        return Bundle(self.root)

    @cached_property
    def metadata(self) -> dict:
        """The content of metadata.json, once it has been found sound."""
        self.after("files", "metadata")
        return json.loads((self.root / "configs" / "metadata.json").read_text(encoding="utf-8"))

    @cached_property
    def results_file(self) -> dict:
        """The evaluations of docs/results.json, by name."""
        self.after("files")
        return json.loads((self.root / "docs" / "results.json").read_text(encoding="utf-8"))["evaluations"]

    @cached_property
    def configs(self) -> dict[str, dict]:
        """The content of each YAML config by its stem, once the scan has found them harmless."""
        self.after("files", "scan")
        return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in self.config_files}

    @property
    def config_files(self) -> list[Path]:
        """The YAML configs."""
        return sorted((self.root / "configs").glob("*.yaml"))

    @property
    def inference_sets(self) -> list[list[str]]:
        """Configs to lay over each other for inference: alone, with each overlay, and evaluation over each overlay."""
        overlays = [stem for stem in self.configs if stem not in ("inference", "evaluate") and not trains(stem)]
        return [["inference"], ["inference", "evaluate"], *(["inference", o] for o in overlays)] + [
            ["inference", o, "evaluate"] for o in overlays
        ]

    @property
    def training_sets(self) -> list[list[str]]:
        """Configs to lay over each other for training: alone, and with each overlay."""
        return [["train"], *(["train", stem] for stem in self.configs if trains(stem) and stem != "train")]

    def weights_of(self, configs: list[str]) -> Path:
        """The weight file that a training makes: models/model.safetensors, or models/X.safetensors of train_X.yaml.

        An overlay that sets `part` is a stage of the training of one network, all of which the one file holds.
        """
        if "part" in self.configs[configs[-1]]:
            return self.bundle.weights
        return self.root / "models" / f"{configs[-1].removeprefix('train_').replace('train', 'model')}.safetensors"

    def short(self, configs: list[str]) -> dict:
        """Settings that make a run of these configs short."""
        return {key: value for key, value in SHORT.items() if key in self.bundle.parameters(configs)}

    @property
    def short_training(self) -> dict:
        """Settings that make a training short."""
        known = {key for stem, content in self.configs.items() if trains(stem) for key in content}
        return {key: value for key, value in SHORT_TRAINING.items() if key in known}


def trains(stem: str) -> bool:
    """Whether a config trains, or is an overlay of one that does: train.yaml, train_*.yaml."""
    return stem == "train" or stem.startswith("train_")

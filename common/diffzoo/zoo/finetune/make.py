"""The new bundle on disk: configs of the parent with what fine-tuning changed, new weights, and every document."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from diffzoo.facts import sha256
from diffzoo.imaging.io.files import write_json
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.finetune import card, recipe, words
from diffzoo.zoo.finetune.train import LOG, WEIGHTS
from diffzoo.zoo.finetune.yamltext import written
from diffzoo.zoo.new.configs import renamed
from diffzoo.zoo.tables import compact_json, results_text

CURVE = "loss.png"
WIDE = (160, 144, 3)  # voxels of the simulated scan that the preview shows, where a bundle takes slices
Say = Callable[[str], None]


def begin(root: Path, parent: Bundle, content: Mapping) -> Bundle:
    """A folder with the configs, whose train.yaml holds `content`, with the parent's licence and its other weight files."""
    for part in ("configs", "models", "docs"):
        (root / part).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(parent.root / "LICENSE", root / "LICENSE")
    shutil.copyfile(parent.root / "configs" / "logging.conf", root / "configs" / "logging.conf")
    for path in sorted((parent.root / "models").glob("*.safetensors")):
        if path.name != WEIGHTS:
            shutil.copyfile(path, root / "models" / path.name)
    note = f"Fine-tuned from {parent.name} {parent.metadata['version']}; not measured here."
    for path in sorted((parent.root / "configs").glob("*.yaml")):
        if path.stem != "train":
            text = renamed(path.read_text(encoding="utf-8"), root.name, parent.name, None if path.stem == "evaluate" else note)
            (root / "configs" / path.name).write_text(text, encoding="utf-8")
    train_config(root, parent, content, "Fine-tuning under way.", "")
    return Bundle(root)


def train_config(root: Path, parent: Bundle, content: Mapping, note: str, run: str) -> None:
    """Writes train.yaml: the parent's text where nothing changed, and in its first comment what was done and the command."""
    text = written(parent.config("train").read_text(encoding="utf-8"), content, recipe.COMMENTS)
    first, *lines = text.splitlines()
    body = "\n".join(lines[next(k for k, line in enumerate(lines) if not line.startswith("#")) :])
    again = "# A run that was killed goes on from its last checkpoint when the same command is given again."
    (root / "configs" / "train.yaml").write_text(
        "\n".join([first, f"# {note}", f"# Run: {run}", again, body]) + "\n", encoding="utf-8"
    )


def run_command(story: words.Story) -> str:
    """MONAI's own command that trains the same steps again."""
    more = " --first true" + ("" if story.choices.method == "full" else f" --method {story.choices.method}")
    more += " --replay @replayed" if story.choices.replay else ""
    files = "--config_file configs/train.yaml --bundle_root . --dataset_dir FOLDER --output_dir out"
    start = "WEIGHTS" if story.choices.weights else f"{story.parent.name}.safetensors"
    return f"python -m monai.bundle run {files} --weights {start}{more}"


def weigh(root: Path, trained: Path, story: words.Story) -> Bundle:
    """Puts weights, log and loss curve of a finished training into the bundle, and metadata that say so."""
    shutil.copyfile(trained / WEIGHTS, root / "models" / WEIGHTS)
    shutil.copyfile(trained / LOG, root / "docs" / LOG)
    if (trained / CURVE).is_file():
        shutil.copyfile(trained / CURVE, root / "docs" / CURVE)
    write_json(root / "configs" / "metadata.json", words.metadata_for(story, sha256(root / "models" / WEIGHTS)))
    return Bundle(root)


def tell(root: Path, story: words.Story, results: Mapping, content: Mapping, work: Path, device: str) -> str:
    """Writes what was measured into metadata, card and first comments, with preview and reference run; the headline."""
    from diffzoo.zoo.verify import reference

    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8")) | words.figures(results, story.name)
    write_json(root / "configs" / "metadata.json", metadata)
    (root / "docs" / "results.json").write_text(results_text(results), encoding="utf-8")
    choices = story.choices.record | {"parameters": story.parameters, "trained": story.trains, "outcome": story.outcome}
    write_json(root / "docs" / "finetune.json", choices)
    run = run_command(story)
    train_config(root, story.parent, content, f"The weights: {story.how}. Measured: {metadata['headline']}.", run)
    path = root / "configs" / "inference.yaml"
    note = f"Fine-tuned from {story.named}; measured: {metadata['headline']}."
    path.write_text(renamed(path.read_text(encoding="utf-8"), root.name, story.parent.name, note), encoding="utf-8")
    (root / "docs" / "README.md").write_text(card.card(story, metadata, results, run), encoding="utf-8")
    (root / "docs" / "data_license.txt").write_text(card.data_license(story), encoding="utf-8")
    _preview(root, work / "preview", device)
    with _emptied(work / "reference") as place:
        (root / "docs" / "reference.json").write_text(compact_json(reference.measure(root, place)), encoding="utf-8")
    return metadata["headline"]


def _preview(root: Path, work: Path, device: str) -> None:
    """docs/preview.png: a simulated scan, so that no patient is in the bundle."""
    from diffzoo.zoo.verify.samples import SLABS, Geometry, file_name, geometries, inputs, write_sample
    from diffzoo.zoo.verify.subject import Subject
    from diffzoo.zoo.work import run_cases

    with _emptied(work) as place:
        subject = Subject(root, place)
        path = place / "scan" / file_name(subject, "simulated")
        wide = Geometry(WIDE, np.diag([1.0, 1.0, 5.0]))
        write_sample(path, subject, wide if geometries(subject) is SLABS else geometries(subject)["plain"])
        run_cases(str(root), inputs(subject, path), place / "out", device=device)
        shutil.copyfile(place / "out" / "preview.png", root / "docs" / "preview.png")


class _emptied:
    """A folder that is empty at first, whatever an interrupted run left in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self.folder

    def __exit__(self, *failure) -> None:
        return None


def broken(root: Path) -> list[str]:
    """What `diffzoo verify --quick` finds wrong with the bundle, a line each."""
    from diffzoo.zoo.verify import verify

    return [f"{check.name}: {check.detail}" for check in verify(root, quick=True) if check.passed is False]

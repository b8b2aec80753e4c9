"""What a new bundle says of itself until its author knows better: metadata, model card, licences of data. All of it is true."""

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffzoo.zoo.archive import sha256_of
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.card import SECTIONS, folded, header, parts
from diffzoo.zoo.trust import content_hash

NOT_FOR_USE = "Not a medical device, not for diagnosis."
MEASURED = "simulated_test"  # part of the split of a bundle that was measured on simulated volumes, but not trained on them
NAMES = {"training": "train", "validation": "val", "test": "test"}  # of a datalist, and of metadata


@dataclass(frozen=True)
class Origin:
    """Where a scaffold comes from: its parent, the hash of the parent's content, the steps of its own training, if any, kind and
    seed of the simulated volumes, and whether train.yaml draws phantoms beside them."""

    parent: Bundle
    content_sha256: str
    steps: int | None
    kind: str
    seed: int
    phantoms: bool = False

    @property
    def named(self) -> str:
        """Name and version of the parent."""
        return f"{self.parent.name} {self.parent.metadata['version']}"

    @property
    def simulation(self) -> str:
        """The command that makes the volumes again that were measured."""
        return f"diffzoo simulate {self.kind} -o simulated" + (f" --seed {self.seed}" if self.seed else "")

    @property
    def weights(self) -> str:
        """Where the weights come from."""
        if self.steps is None:
            return f"the weights are those of {self.named}"
        return f"the weights come from {self.steps} steps on simulated volumes"


def split_of(lists: Mapping[str, Sequence[Mapping]], folder: str | Path) -> dict:
    """`training_data.split` of metadata.json for the lists of a datalist: files relative to the folder, with their sha256.

    Subjects are the values of "subject" of the entries, else the files; a DICOM folder has the hash of its content, and "slices"
    of entries are told.
    """
    folder, listed = Path(folder).resolve(), {}
    for part, entries in lists.items():
        paths = [Path(entry["image"]).resolve() for entry in entries]
        names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
        files = {n: content_hash(p) if p.is_dir() else sha256_of(p) for n, p in sorted(zip(names, paths, strict=True))}
        blocks: dict[str, list[str]] = {}
        for name, entry in zip(names, entries, strict=True):
            if "slices" in entry:
                blocks.setdefault(name, []).append(entry["slices"])
        subjects = {entry.get("subject", entry["image"]) for entry in entries}
        facts = {"subjects": len(subjects), "count": len(files), "files": files}
        facts |= {"slices": {name: ", ".join(these) for name, these in blocks.items()}} if blocks else {}
        listed[NAMES.get(part, part)] = facts
    return listed


def metadata_for(name: str, origin: Origin, weights_sha256: str, split: Mapping) -> dict:
    """metadata.json before anything was measured: that of the parent, less what holds for the parent alone."""
    metadata = copy.deepcopy(origin.parent.metadata)
    story = re.sub(r"^Scaffold from \S+ \S+: ", "", metadata["description"])
    source = {"what": f"volumes of `{origin.simulation}`", "source": "this repository", "license": "Apache-2.0"}
    metadata |= {
        "name": name,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"scaffold from {origin.named} (content sha256 {origin.content_sha256}); {origin.weights}"},
        "description": f"Scaffold from {origin.named}: {story}",
        "headline": "not measured yet",
        "test_people": 0,
        "intended_use": f"A start for a new bundle, not for patients' scans. {NOT_FOR_USE}",
        "weights_sha256": weights_sha256,
        "eval_metrics": {"command": _evaluation(name, origin, []), "values": {}},
    }
    if origin.steps is None:
        note = f"A scaffold: {origin.weights}, and what it measures here are simulated volumes. Of {origin.named} is told: "
        metadata["limits"] = note + metadata["limits"]
        metadata["weakest_point"] = "What it measures are simulated volumes, which tells nothing of real scans."
        metadata["training_data"]["sources"] = [
            *metadata["training_data"]["sources"],
            source | {"what": f"{source['what']} (test only)"},
        ]
        metadata["training_data"]["split"] = metadata["training_data"]["split"] | {MEASURED: split["test"]}
        return metadata
    metadata["limits"] = (
        f"A scaffold: {origin.weights}. It has seen no patient: nothing that it makes of a real scan is to be trusted."
    )
    metadata["weakest_point"] = "It has seen no patient, and a network trained for a minute is a weak one."
    metadata["out_of_scope"] = "Every scan of a patient, until it was trained and measured on such scans."
    metadata["bias"] = "No person is in the data: nothing is known about any group."
    metadata["licenses"] = metadata["licenses"] | {"data": "Apache-2.0"}
    metadata["data_source"] = f"Simulated volumes: {origin.simulation}"
    summary = f"Simulated {origin.kind} volumes, an anatomy of its own in each {origin.parent.task.anatomy}; no patient."
    if origin.phantoms:
        source["what"] += ", and phantoms that configs/train.yaml draws"
    metadata["training_data"] = {"summary": summary, "sources": [source], "split": dict(split)}
    return metadata


def _evaluation(name: str, origin: Origin, settings: Sequence[str]) -> str:
    sets = "".join(f" --set {pair}" for pair in settings)
    return f"{origin.simulation} && diffzoo evaluate {name} --data simulated -o out{sets}"


def command_of(name: str, origin: Origin, plan: Mapping) -> str:
    """The command that measures a scaffold again."""
    return _evaluation(name, origin, plan["settings"])


DATA = """Apache-2.0
  Simulated volumes of diffzoo, made by `{simulation}`. No patient is in them, and no image is part
  of this bundle.
"""


def data_license(name: str, origin: Origin) -> str:
    """docs/data_license.txt."""
    head, text = f"Licences of the data behind {name}\n\n", DATA.format(simulation=origin.simulation)
    if origin.steps is not None:
        return f"{head}1. Trained and measured on\n\n{text}"
    theirs = (origin.parent.root / "docs" / "data_license.txt").read_text(encoding="utf-8")
    return f"{head}1. Measured on\n\n{text}\n2. Trained on: the weights are those of {origin.named}, which tells\n\n{theirs}"


CARD = (
    """{header}# {name}: a scaffold from {parent}

<!-- summary -->
{summary}
<!-- /summary -->

A scaffold of a new bundle ({task}); {weights}.

## Use
```
diffzoo run {name} -i {scan} -o out
diffzoo evaluate {name} --data folder_or_datalist.json -o out
python -m monai.bundle run --config_file configs/inference.yaml --bundle_root . --dataset_dir {folder}
```
- in: {accepts}
- out: {gives}

## How it works
As {named}, whose configs were copied; its card tells more.

## Results
Made by `{command}`:
simulated volumes of no patient, {pace}.

<!-- results -->
{table}
<!-- /results -->

These numbers show that the bundle works. They tell nothing of real scans.

![What was measured](preview.png)

## Training
{training}

## Data
{data}

"""
    + SECTIONS
)


def card(name: str, origin: Origin, metadata: Mapping, table: str, pace: str) -> str:
    """docs/README.md, with the marks between which tools/write_results.py puts a new table."""
    parent = origin.parent.name
    training = f"In short: {origin.weights}. `configs/train.yaml` is how, `train_log.jsonl` the log."
    data = f"Simulated volumes alone, made by `{origin.simulation}`; metadata.json lists them with their hashes."
    if origin.steps is None:
        training = f"None yet: {origin.weights}; its card tells how they were trained. `configs/train.yaml` is that of {parent}."
        data = "Measured on simulated volumes. What the weights were trained on is told in metadata.json and data_license.txt."
    return CARD.format(
        name=name,
        parent=parent,
        named=origin.named,
        weights=origin.weights,
        command=metadata["eval_metrics"]["command"],
        table=folded(table),
        pace=pace,
        scan=origin.parent.task.example,
        folder=origin.parent.task.folder,
        training=training,
        data=data,
        references="\n".join(f"- {reference}" for reference in metadata["references"]),
        code=metadata["licenses"]["code"],
        terms=metadata["licenses"]["weights"],
        header=header(metadata),
        **parts(metadata),
        **{key: metadata[key] for key in ("task", "accepts", "gives", "intended_use", "limits")},
    )

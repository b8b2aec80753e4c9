"""The output of a tiny run as it was on release: values that another processor must find again, within a tolerance."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffzoo.zoo.archive import sha256_of
from diffzoo.zoo.verify.check import Broken
from diffzoo.zoo.verify.files import MODEL
from diffzoo.zoo.verify.runs import READY, Output, outputs
from diffzoo.zoo.verify.samples import file_name, geometries, kind_of, write_sample
from diffzoo.zoo.verify.subject import Subject

BLOCKS = 7  # along each axis, of which the means are kept
TOLERANCE = 2e-3  # of the range of an output
FILE = "docs/reference.json"
REMEDY = "where the change is meant: python tools/write_reference.py NAME, and a higher version"


def reference(subject: Subject) -> str:
    """A tiny run gives what docs/reference.json says, within 0.2 % of each output's range, on any processor."""
    subject.after(*READY)
    path = subject.root / FILE
    if not path.is_file():
        raise Broken(f"{FILE} is missing", f"python tools/write_reference.py {subject.root.name}")
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["weights_sha256"] != sha256_of(subject.root / MODEL):
        raise Broken(f"{FILE} was made with other weights", REMEDY)
    volumes = _tiny_run(subject, stored["settings"])
    if stored["sample"] != kind_of(subject) or stored["outputs"].keys() != volumes.keys():
        raise Broken(f"{FILE} tells of other outputs, or of another sample", REMEDY)
    worst = 0.0
    for name, expected in stored["outputs"].items():
        if volumes[name]["shape"] != expected["shape"]:
            raise Broken(f"{name} has the shape {volumes[name]['shape']}, in {FILE} {expected['shape']}", REMEDY)
        worst = max(worst, difference(volumes[name], expected))
        if not worst <= TOLERANCE:
            raise Broken(f"{name} is {100 * worst:.2g} % of its range from {FILE}", REMEDY)
    return f"{len(volumes)} outputs, within {100 * worst:.1g} % of the range"


def measure(root: Path, workspace: Path) -> dict:
    """The content of docs/reference.json for the bundle at `root`."""
    subject = Subject(root, workspace)
    settings = subject.short(["inference"]) | {"seed": 0}
    content = {"sample": kind_of(subject), "settings": settings, "weights_sha256": sha256_of(subject.root / MODEL)}
    return content | {"outputs": _tiny_run(subject, settings)}


def _tiny_run(subject: Subject, settings: Mapping) -> dict[str, dict]:
    """Summaries by name of the outputs for the plain sample."""
    path = subject.folder("reference") / file_name(subject, "scan")
    write_sample(path, subject, geometries(subject)["plain"])
    [volumes] = outputs(subject, "reference_out", [path], settings)
    return {name: summary(volume) for name, volume in volumes.items()}


def summary(output: Output) -> dict:
    """Shape, range, mean, standard deviation, and means over blocks of an output."""
    array = output.array.astype(np.float64)
    parts = [np.array_split(np.arange(n), min(n, BLOCKS)) for n in array.shape]
    blocks = [array[np.ix_(x, y, z)].mean() for x in parts[0] for y in parts[1] for z in parts[2]]
    facts = {"range": float(np.ptp(array)), "mean": float(array.mean()), "std": float(array.std())}
    return {"shape": list(array.shape), **{k: _short(v) for k, v in facts.items()}, "blocks": [_short(b) for b in blocks]}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def difference(volumes: dict, expected: dict) -> float:
    """The largest difference of mean, standard deviation and block means, in units of the expected range."""
    keys = ("mean", "std")
    gaps = [abs(volumes[key] - expected[key]) for key in keys]
    gaps += [abs(a - b) for a, b in zip(volumes["blocks"], expected["blocks"], strict=True)]
    return float(max(gaps) / max(expected["range"], 1e-12))

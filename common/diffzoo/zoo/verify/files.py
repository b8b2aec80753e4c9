"""Checks of a bundle's files: which are there, how large, and whether the weights are those that metadata describes."""

import re
from pathlib import Path

from safetensors import safe_open

from diffzoo.zoo.archive import MANIFEST, differences, sha256_of
from diffzoo.zoo.metadata import MACHINE_PATH
from diffzoo.zoo.scan import Finding
from diffzoo.zoo.scan.files import entries, is_leftover
from diffzoo.zoo.verify.check import Broken, refuse
from diffzoo.zoo.verify.subject import Subject

NEEDED = (
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.yaml",
    "configs/evaluate.yaml",
    "configs/train.yaml",
    "configs/published.yaml",
    "configs/logging.conf",
    "models/model.safetensors",
    "docs/README.md",
    "docs/preview.png",
    "docs/data_license.txt",
    "docs/results.json",
)
SUFFIXES = (".json", ".jsonl", ".yaml", ".conf", ".safetensors", ".md", ".png", ".txt")
MIB = 2**20
MOST_FILE, MOST_WEIGHTS, MOST_OTHER = 8 * MIB, 16 * MIB, MIB  # bytes of a weight file, of all together, of any other file
HALF = {"F16", "I64", "BOOL"}
METADATA, MODEL = "configs/metadata.json", "models/model.safetensors"
PLACEHOLDER = re.compile(r"@[A-Z]+@|\bMEASURED\b|\bTODO\b|\bTBD\b|\bFIXME\b")


def files(subject: Subject) -> str:
    """Every file that a bundle needs is there, and none that a bundle may not hold: no code, pickle, archive or link."""
    findings([f for f in subject.refused if f.rule in ("file", "name", "link", "leftover")])
    root = subject.root
    names = _files(root)
    lacking = [name for name in NEEDED if not (root / name).is_file() or not (root / name).stat().st_size]
    refuse([f"{name} is missing or empty" for name in lacking], "write it; another bundle shows the form")
    if MANIFEST in names:
        refuse(differences(root), "fetch the pack again, or delete manifest.json and the twins beside the YAML configs")
        return f"{len(names)} files, as the manifest of the pack lists them"
    strange = [name for name in names if Path(name).suffix not in SUFFIXES and name != "LICENSE"]
    strange += [name for name in names if name.startswith("configs/") and name.endswith(".json") and name != METADATA]
    refuse([f"{name} is no part of a bundle" for name in strange], "take it out: `diffzoo pack` makes what stock clients need")
    return f"{len(names)} files, no code, no pickle, no link"


def sizes(subject: Subject) -> str:
    """A weight file takes at most 8 MiB, those of a bundle 16 MiB in all, any other file at most 1 MiB."""
    findings([f for f in subject.refused if f.rule == "size"])
    sizes_of = {name: (subject.root / name).stat().st_size for name in _files(subject.root) if name != "models/model.pt"}
    weighty = {name: size for name, size in sizes_of.items() if name.endswith(".safetensors")}
    large = [name for name, size in sizes_of.items() if not name.endswith(".safetensors") and size > MOST_OTHER]
    refuse(
        [f"{n} has {sizes_of[n] / MIB:.1f} MiB, more than 1 MiB" for n in large],
        "make it smaller: a lower resolution, fewer rows",
    )
    heavy = [f"{name} has {size / MIB:.1f} MiB, more than 8 MiB" for name, size in weighty.items() if size > MOST_FILE]
    refuse(heavy, "a smaller network, or fp16")
    total = sum(weighty.values())
    if total > MOST_WEIGHTS:
        raise Broken(f"the weights have {total / MIB:.1f} MiB in all, more than 16 MiB", "smaller networks to compare with")
    return f"weights {total / MIB:.1f} MiB, all {sum(sizes_of.values()) / MIB:.1f} MiB"


def weights(subject: Subject) -> str:
    """The weight files are safetensors in half precision, and each has the sha256 that metadata tells."""
    subject.after("files")
    findings([f for f in subject.refused if f.rule == "weights"])
    there = [name for name in _files(subject.root) if name.endswith(".safetensors")]
    hashes = {MODEL: subject.metadata["weights_sha256"], **subject.metadata.get("files_sha256", {})}
    missing = [f"metadata tells no sha256 of {name}" for name in there if name not in hashes]
    missing += [f"metadata tells the sha256 of {name}, which is not there" for name in hashes if name not in _files(subject.root)]
    refuse(missing, "name each file beside model.safetensors under files_sha256 in configs/metadata.json")
    wrong = [name for name, digest in hashes.items() if sha256_of(subject.root / name) != digest]
    refuse([f"{name} is not the file whose sha256 metadata tells" for name in wrong], "fetch it again, or tell its sha256 there")
    for name in there:
        with safe_open(subject.root / name, "pt") as file:
            kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - not a dict
        if "F16" not in kinds or not kinds <= HALF:
            raise Broken(f"{name} holds {', '.join(sorted(kinds))}", "save floating-point tensors as float16")
    return f"sha256 {hashes[MODEL][:16]}, half precision" + (f", {len(there)} files" if len(there) > 1 else "")


def name(subject: Subject) -> str:
    """The folder has the name that metadata tells."""
    written = subject.metadata["name"]
    if written != subject.root.name:
        raise Broken(f"the folder is named {subject.root.name}, the bundle {written}", "rename one of them")
    return written


def placeholders(subject: Subject) -> str:
    """No document or config waits for something to be filled in."""
    lines = [f"{name}: {match[0]}" for name, text in _texts(subject.root).items() if (match := PLACEHOLDER.search(text))]
    refuse(lines, "write what belongs there")
    return "none"


def personal_paths(subject: Subject) -> str:
    """No document or config names a place on one machine."""
    texts = {name: text for name, text in _texts(subject.root).items() if name != METADATA}  # the check of metadata sees to that
    lines = [
        f"{name}: {text[match.start() : match.start() + 40]!r}"
        for name, text in texts.items()
        if (match := MACHINE_PATH.search(text))
    ]
    refuse(lines, "write a path of the repository, or a word such as FOLDER")
    return "none"


def findings(items: list[Finding]) -> None:
    """Raises Broken with the first findings of the scan, and the remedy of the first."""
    if items:
        refuse([str(f).removesuffix(f"; {f.remedy}") for f in items], items[0].remedy)


def _files(root: Path) -> list[str]:
    """Relative paths of the bundle's files; what a training leaves behind does not count."""
    return [str(p) for p, _ in entries(root) if (root / p).is_file() and not is_leftover(p)]


def _texts(root: Path) -> dict[str, str]:
    kinds = (".json", ".jsonl", ".yaml", ".conf", ".md", ".txt")
    return {name: (root / name).read_text(errors="replace", encoding="utf-8") for name in _files(root) if name.endswith(kinds)}

"""The files of a bundle: which may be there, under which names, and how large."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .finding import Finding, shown

# folder: what a file of that name or suffix is; everything else is refused
KINDS = {
    ".": {"LICENSE": "text", "NOTICE": "text", "README.md": "text", "CHANGELOG.md": "text", "manifest.json": "text"},
    "configs": {"logging.conf": "logging", ".yaml": "config", ".yml": "config", ".json": "config"},
    "models": {".safetensors": "weights", "model.pt": "state_dict"},  # the latter for stock clients; diffzoo never loads it
    "docs": {".md": "text", ".txt": "text", ".json": "text", ".jsonl": "text", ".csv": "text", ".png": "picture"},
}
LARGEST = {
    "text": 4 * 2**20,
    "logging": 2**14,
    "config": 2**18,
    "weights": 2**31,
    "state_dict": 2**32,
    "picture": 16 * 2**20,
}  # bytes
MOST, LARGEST_SUM = 200, 4 * 2**30  # files, bytes
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}(?<!\.)", re.ASCII)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows keeps for devices
# what training leaves in the output folder, by default models/; Resume reads a checkpoint as weights only
LEFTOVERS = re.compile(r"models/(checkpoint\.pt|train_log\.jsonl|[\w.-]+\.part|bank|bank/[\w.-]+\.(safetensors|part))")


def is_leftover(path: PurePosixPath) -> bool:
    """Whether a file or folder (relative to the bundle) is left by Python or by a training, and no part of the bundle."""
    return "__pycache__" in path.parts or bool(LEFTOVERS.fullmatch(str(path)))


def entries(root: Path) -> Iterator[tuple[PurePosixPath, os.stat_result]]:
    """Everything below `root` in order of names, folders before what is in them; links are told, not followed."""
    pending = [PurePosixPath(".")]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as listing:
            names = sorted(entry.name for entry in listing)
        for name in names:
            status = os.lstat(root / folder / name)
            yield folder / name, status
            if stat.S_ISDIR(status.st_mode):
                pending.append(folder / name)


def check(root: Path) -> Iterator[Finding | tuple[PurePosixPath, str]]:
    """Findings in names, types and sizes, and (path, kind) of each file that is left to look into."""
    count, total, seen = 0, 0, set()
    for path, status in entries(root):
        count, total = count + 1, total + status.st_size
        if count > MOST or total > LARGEST_SUM:
            yield _refused(path, "size", f"the bundle has more than {MOST} files or {LARGEST_SUM >> 30} GiB", "take some out")
            return
        lower = str(path).lower()
        if reason := _name_problem(path.name):
            yield _refused(path, "name", reason, "use letters, digits, _ - + and . inside a name")
        elif lower in seen:
            yield _refused(path, "name", "differs from another name in case alone", "rename one of them")
        elif reason := _type_problem(status.st_mode):
            yield _refused(path, "link", reason, "put a plain file there")
        elif is_leftover(path):
            if not any(map(is_leftover, path.parents)):
                what = "left by Python or a training, no part of the bundle"
                yield Finding(str(path), "", "leftover", what, "delete it before the bundle is given away", "note")
        elif stat.S_ISDIR(status.st_mode):
            if str(path) not in KINDS:
                yield _refused(path, "file", "a folder that no bundle has", f"bundles have {', '.join(sorted(KINDS)[1:])}")
        else:
            yield from _file(path, status.st_size)
        seen.add(lower)


def _file(path: PurePosixPath, size: int) -> Iterator[Finding | tuple[PurePosixPath, str]]:
    known = KINDS.get(str(path.parent), {})
    kind = known.get(path.name) or known.get(path.suffix)
    if kind is None:
        yield _refused(path, "file", _why(path.name.lower()), "bundles hold configs, safetensors weights and documents")
    elif size > LARGEST[kind]:
        yield _refused(path, "size", f"{size} bytes, more than a file of its kind may have", f"at most {LARGEST[kind]}")
    else:
        yield path, kind


def _why(name: str) -> str:
    if name.endswith((".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".ipynb", ".bat", ".exe", ".pth")):
        return "a program: bundles hold no code"
    if name.endswith((".pt", ".ts", ".pkl", ".pickle", ".ckpt", ".bin", ".npy", ".npz", ".joblib", ".zip", ".onnx")):
        return "a pickle, archive or compiled network, which can run code when it is loaded"
    return "a file that no bundle has at this place"


def _name_problem(name: str) -> str | None:
    if not NAME.fullmatch(name):
        return "not a name that every system reads alike"
    return "a name that Windows keeps for a device" if RESERVED.fullmatch(name) else None


def _type_problem(mode: int) -> str | None:
    if stat.S_ISLNK(mode):
        return "a link: what it leads to is not in the bundle"
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "neither a file nor a folder"


def _refused(path: PurePosixPath, rule: str, what: str, remedy: str) -> Finding:
    return Finding(shown(str(path), 100).strip("'\""), "", rule, what, remedy)

"""A static scan of a bundle: nothing in it is evaluated, imported or unpickled. A filter, not a sandbox."""

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from . import config, contents, files, logging_conf
from .expressions import MACROS
from .finding import Finding

LOOKS = {
    "weights": contents.weights_problem,
    "state_dict": contents.state_dict_problem,
    "text": contents.text_problem,
    "picture": contents.picture_problem,
}
__all__ = ["Finding", "scan"]


def scan(root: str | Path) -> list[Finding]:
    """Everything in the bundle at `root` that cannot be shown to be harmless, and notes on what is no part of a bundle.

    Empty, or with findings of severity "note" alone, when the bundle may be used. Light: neither torch nor MONAI is imported.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        return [Finding(".", "", "file", "there is no such folder", "give the folder of a bundle")]
    try:
        return list(_findings(root))
    except OSError as error:
        return [Finding(".", "", "file", f"a file cannot be read ({error.strerror})", "mend its permissions")]


def _findings(root: Path) -> Iterator[Finding]:
    copies = 0
    metadata: dict = {}
    for finding in files.check(root):
        if isinstance(finding, Finding):
            yield finding
            continue
        path, kind = finding
        if kind != "config":
            yield from _look(root, path, kind)
            continue
        try:
            content = config.read(path.name, (root / path).read_bytes())
        except config.Unreadable as error:
            yield Finding(str(path), "", "config", str(error), "mend the file")
            continue
        described = path.name == "metadata.json"
        metadata = content if described else metadata
        copies += config.macros(content)
        yield from config.check(str(path), content, free_text=described)
    if copies > MACROS:
        yield Finding("configs", "", "macro", f"{copies} macros in all", f"at most {MACROS}: refer to @id instead")
    yield from _hash(root, metadata.get("weights_sha256"))


def _look(root: Path, path: PurePosixPath, kind: str) -> Iterator[Finding]:
    """Findings in a file that is no config."""
    if kind == "logging":
        yield from logging_conf.check(str(path), (root / path).read_bytes())
        return
    if reason := LOOKS[kind](root / path):
        yield Finding(str(path), "", "weights" if path.parts[0] == "models" else "file", reason, "replace the file")


def _hash(root: Path, expected: object) -> Iterator[Finding]:
    """The weights are those that metadata.json names, where it names any."""
    path = root / "models" / "model.safetensors"
    if not expected or path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected:
        what = "not the weights whose sha256 metadata.json tells"
        yield Finding("models/model.safetensors", "", "weights", what, f"fetch them again, or tell {digest} there")

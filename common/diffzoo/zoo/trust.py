"""How far a bundle is trusted: where it came from, what the scan says of it, and what a person decided. Light."""

import hashlib
import json
import os
import stat
import subprocess
import tempfile
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import CHECKOUT, Bundle
from diffzoo.zoo.scan import scan
from diffzoo.zoo.scan.files import entries, is_leftover
from diffzoo.zoo.store import trust_level
from diffzoo.zoo.versions import home_folder

PATIENCE = 60.0  # seconds that git may take
LEVELS = {
    "official": "as committed in a checkout of the repository, or from an index that a keeper of the zoo has signed",
    "trusted": "installed from an index that a key of DIFFZOO_INDEX_KEYS has signed",
    "community": "installed from another index",
    "local": "a folder that a person gave, a bundle that is not committed, or one that was changed",
    "unsafe": "the scan refuses something in it, and a person said --trust",
}


def content_hash(root: str | Path) -> str:
    """Hexadecimal sha256 over the paths and bytes of a bundle, in order of paths; what training leaves behind does not count.

    Links count as where they lead to, and are not followed.
    """
    root = Path(root).resolve()
    lines = []
    for path, status in entries(root):
        if is_leftover(path) or stat.S_ISDIR(status.st_mode):
            continue
        if stat.S_ISREG(status.st_mode):
            with (root / path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            digest = f"link {os.readlink(root / path)}" if stat.S_ISLNK(status.st_mode) else "no file"
        lines.append(json.dumps([str(path), digest]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def level_of(root: str | Path) -> str:
    """A level of `LEVELS`: from where the bundle is, whether it is as it was, and what its index was when it was installed."""
    root = Path(root).resolve()
    if root.parent != CHECKOUT.resolve():
        return trust_level(root)
    return "official" if is_committed(root) else "local"


def is_committed(root: Path) -> bool:
    """Whether a folder of a git checkout is there as the last commit has it; not so where git cannot tell."""
    git = ["git", "-c", "core.fsmonitor=false", "-C", str(root)]
    try:
        tracked, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
            for words in (["ls-tree", "-r", "--name-only", "HEAD", "."], ["status", "--porcelain", "--", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(tracked.strip()) and not changed.strip()


def remember(home: Path, digest: str, reason: str) -> None:
    """Notes that a person trusts the content of that hash although the scan refuses it, for the reason that the scan gave."""
    _add(home, digest, {"reason": reason})


def trusted(home: Path, digest: str) -> bool:
    """Whether a person has said that they trust the content of that hash."""
    return digest in _read(home)


def check(bundle: Bundle, trust: bool = False) -> str:
    """The level of a bundle that may be used, "unsafe" where only a person's word (now or earlier) lets it pass.

    InputError, naming the first findings, where the scan refuses something and nobody has trusted this very content.
    """
    refused = [finding for finding in scan(bundle.root) if finding.severity == "refuse"]
    home = home_folder()
    if not refused:
        return level_of(bundle.root)
    digest = content_hash(bundle.root)
    problems = "; ".join(f"{finding.file}{finding.where and ', '}{finding.where}: {finding.what}" for finding in refused[:2])
    if trust:
        remember(home, digest, problems)
    elif not trusted(home, digest):
        more = f" (and {len(refused) - 2} more)" if refused[2:] else ""
        shown = f"`diffzoo scan {bundle.root}` shows all"
        raise InputError(f"{bundle.name} is refused: {problems}{more}; {shown}, --trust runs it all the same")
    return "unsafe"


def _file(home: Path) -> Path:
    return home / "trust.json"


def _read(home: Path) -> dict[str, dict]:
    """Reasons by content hash, of what a person trusts."""
    path = _file(home)
    if not path.exists():
        return {}
    try:
        return {key: dict(value) for key, value in json.loads(path.read_text(encoding="utf-8"))["trusted"].items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}): delete it, and say --trust again where needed"
        ) from error


def _add(home: Path, digest: str, entry: dict) -> None:
    content = {"trusted": _read(home) | {digest: entry}}
    home.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=home, prefix="trust.", suffix=".part")  # for its owner alone
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, sort_keys=True)
        os.replace(beside, _file(home))
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise

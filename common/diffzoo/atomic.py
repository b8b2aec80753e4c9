"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: str | Path, own: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, of the same suffix, that becomes `path` when the block ends without an error.

    own: its name is of this call alone, for what several processes may write; else it is NAME.part, so that what a killed process
    has left is written over by the next. The folder is made where it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.name[-len(".nii.gz") :] if path.name.lower().endswith(".nii.gz") else path.suffix
    temporary = path.with_name(f".{secrets.token_hex(6)}{suffix}") if own else path.with_suffix(".part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

"""The public keys of the zoo's keepers. Light: no torch here."""

import re
from pathlib import Path

from diffzoo.errors import InputError

OFFICIAL_KEYS = Path(__file__).with_name("official_keys.txt")


def official_keys(path: str | Path | None = None) -> tuple[str, ...]:
    """Public ed25519 keys of the keepers in hexadecimal: a line each of `path`, by default official_keys.txt of the package.

    A # starts a comment. Raises InputError for a file that cannot be read, and for a line that is no key.
    """
    path = Path(path or OFFICIAL_KEYS)
    try:
        lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of public keys: install diffzoo again") from error
    keys = tuple(line for line in lines if line)
    if wrong := [key for key in keys if not re.fullmatch("[0-9a-f]{64}", key)]:
        raise InputError(f"{path}: {wrong[0][:40]!r} is no public key of 64 hexadecimal digits (0-9, a-f)")
    return keys

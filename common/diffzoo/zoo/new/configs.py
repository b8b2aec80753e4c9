"""The configs of a parent turned into those of a new bundle, as text, so that their comments stay."""

import re
from collections.abc import Mapping

from diffzoo.errors import InputError

COMMENT_AT = 29  # column of the comments beside top-level values
WIDTH = 32  # channels of a network: attention heads and normalisation groups divide them


def renamed(text: str, name: str, parent: str, note: str | None) -> str:
    """A config with the first line of its first comment kept, `note` as what was measured, and commands that name the new bundle.

    What the parent tells between its first line and its commands holds for the parent alone, and is left out.
    """
    lines = text.splitlines()
    end = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head, body = lines[:end], lines[end:]
    start = next((k for k, line in enumerate(head) if line.startswith("# Run:")), len(head))
    commands = [re.sub(rf"\b{re.escape(parent)}\b", name, line) for line in head[start:]]
    body = [re.sub(r"tuned on the validation \w+", f"as tuned for {parent}", line) for line in body]
    return "\n".join([*head[:1], *([f"# {note}"] if note else []), *commands, *body]) + "\n"


def narrowed(text: str) -> str:
    """A config whose network has about half the channels, and says nothing of its number of parameters."""

    def half(match: re.Match) -> str:
        return "channels: [" + ", ".join(str(WIDTH * -(-int(n) // (2 * WIDTH))) for n in match[1].split(",")) + "]"

    text = re.sub(r"(?m)^(network_def:) +#.*$", r"\1", text)
    return re.sub(r"\bchannels: \[([\d, ]+)\]", half, text)


def with_values(text: str, values: Mapping[str, object]) -> str:
    """A config with other values of top-level keys, their comments kept. Raises InputError for a key that it lacks."""
    for key, value in values.items():
        match = re.search(rf"(?m)^{re.escape(key)}:[^#\n]*(#.*)?$", text)
        if match is None:
            raise InputError(f"the train.yaml of this pattern has no {key!r}: choose another task, or --like a bundle")
        line = f"{key}: {value}".ljust(COMMENT_AT - 1)
        text = text[: match.start()] + f"{line} {match[1] or ''}".rstrip() + text[match.end() :]
    return text

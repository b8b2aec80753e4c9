"""A config as text again, in which what did not change keeps its very lines and comments. Light."""

import re
from collections.abc import Mapping

COMMENT_AT, WIDTH = 29, 130
KEY = re.compile(r"(\w+):")


def blocks(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """The lines of the first comment of a YAML text, and by top-level key its lines with the comments and blanks before them."""
    head, texts, waiting, key = [], {}, [], None
    lines = text.splitlines()
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0))
    for line in lines:
        if match := KEY.match(line):
            key = match[1]
            texts[key], waiting = [*waiting, line], []
        elif not line.strip() or line.startswith("#"):
            waiting.append(line)
        else:
            texts[key] += [*waiting, line]
            waiting = []
    return head, texts


def written(text: str, content: Mapping, comments: Mapping[str, str]) -> str:
    """The text of `content`, a changed form of what `text` holds: equal parts keep their lines, changed scalars their comments.

    comments: of scalars that are new or changed. The first comment stays as it is.
    """
    import yaml

    head, texts = blocks(text)
    old = yaml.safe_load(text)
    lines = list(head)
    for key, value in content.items():
        before = [line for line in texts.get(key, []) if not line.strip() or line.startswith("#")]
        before = before[: next((k for k, line in enumerate(texts.get(key, [])) if KEY.match(line)), 0)]
        if key in texts and old[key] == value and type(old[key]) is type(value):
            lines += texts[key]
        elif isinstance(value, dict | list):
            lines += (before if key in texts else [""]) + _dumped({key: value})
        else:
            comment = comments.get(key) or (_comment(texts[key][len(before)]) if key in texts else "")
            lines += [*before, _scalar(key, value, comment)]
    return "\n".join(lines) + "\n"


def _comment(line: str) -> str:
    return line.partition(" # ")[2].strip()


def _scalar(key: str, value: object, comment: str) -> str:
    line = f"{key}: {_flow(value)}"
    return f"{line.ljust(COMMENT_AT - 1)} # {comment}" if comment else line


def _dumped(content: Mapping, indent: int = 0) -> list[str]:
    """Lines of a mapping, in which what fits is in one line."""
    lines = []
    for key, value in content.items():
        short = f"{' ' * indent}{key}: {_flow(value)}"
        if isinstance(value, dict) and value and len(short) > WIDTH:
            lines += [f"{' ' * indent}{key}:", *_dumped(value, indent + 2)]
        elif isinstance(value, list) and len(short) > WIDTH:
            lines += [f"{' ' * indent}{key}:", *(line for item in value for line in _item(item, indent + 2))]
        else:
            lines.append(short)
    return lines


def _item(item: object, indent: int) -> list[str]:
    """Lines of an item of a list."""
    short = f"{' ' * indent}- {_flow(item)}"
    if not isinstance(item, dict) or len(short) <= WIDTH:
        return [short]
    first, *rest = _dumped(item, indent + 2)
    return [f"{' ' * indent}- {first.lstrip()}", *rest]


def _flow(value: object) -> str:
    """A value in one line."""
    import yaml

    text = yaml.safe_dump(value, sort_keys=False, width=10**6, default_flow_style=True)
    return text.removesuffix("...\n").strip()

"""The logging.conf of a bundle: Python evaluates what it says of handlers, so only known words may stand in it."""

import configparser
import re
from collections.abc import Iterator

from .finding import Finding, shown

SECTIONS = {  # by what their name begins with: the options they may have
    "loggers": {"keys"},
    "handlers": {"keys"},
    "formatters": {"keys"},
    "logger_": {"level", "handlers", "propagate", "qualname"},
    "handler_": {"class", "level", "formatter", "args"},
    "formatter_": {"format", "datefmt"},
}
WORDS = r"[\w.,]*"
VALUES = {  # what an option may say
    "class": r"(logging\.)?(StreamHandler|NullHandler)",
    "args": r"\(\s*\)|\(\s*sys\.(stdout|stderr)\s*,?\s*\)",
    "level": r"NOTSET|DEBUG|INFO|WARNING|ERROR|CRITICAL",
    "propagate": r"[01]",
    "format": r"[^\x00-\x1f\x7f]{0,200}",
    "datefmt": r"[^\x00-\x1f\x7f]{0,60}",
    **dict.fromkeys(("keys", "handlers", "qualname", "formatter"), WORDS),
}
REMEDY = "copy configs/logging.conf of another bundle: it logs to the screen"


def check(file: str, data: bytes) -> Iterator[Finding]:
    """Findings in the bytes of a logging.conf."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(data.decode("ascii"))
    except (configparser.Error, UnicodeDecodeError) as error:
        yield Finding(file, "", "logging", f"cannot be read: {' '.join(str(error).split())[:120]}", REMEDY)
        return
    if parser.defaults():
        yield Finding(file, "[DEFAULT]", "logging", "values that are pasted into others", REMEDY)
    for section in parser.sections():
        allowed = next((options for name, options in SECTIONS.items() if _fits(section, name)), None)
        if allowed is None:
            yield Finding(file, shown(f"[{section}]"), "logging", "not a section of a logging.conf", REMEDY)
            continue
        for option, value in parser.items(section):
            if option not in allowed or not re.fullmatch(VALUES[option], value.replace(", ", ",")):
                yield Finding(file, shown(f"[{section}]"), "logging", f"{shown(option)} = {shown(value)} is not allowed", REMEDY)


def _fits(section: str, name: str) -> bool:
    return bool(re.fullmatch(rf"{name}\w+", section, re.ASCII)) if name.endswith("_") else section == name

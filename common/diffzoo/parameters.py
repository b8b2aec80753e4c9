"""What a person may set: the top-level scalars of configs, with their comments. Light: no torch here."""

import ast
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

PLUMBING = ("bundle_root", "dataset_dir", "output_dir", "device_name", "weights")  # set by the command's own options


@dataclass(frozen=True)
class Parameter:
    """A top-level scalar of inference.yaml: name, default, the comment beside it, and what metadata.json allows."""

    name: str
    default: str | int | float | bool | None
    help: str
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Limits or choices, for people."""
        return f"{self.limits[0]:g} to {self.limits[1]:g}" if self.limits else ", ".join(self.choices)

    def allows(self, value) -> bool:
        """Whether a value lies within the limits, or is one of the choices; null is another matter."""
        if value is None or isinstance(value, bool):
            return True
        if self.limits:
            return isinstance(value, int | float) and self.limits[0] <= value <= self.limits[1]
        return not self.choices or value in self.choices


def scalars(text: str) -> dict[str, Parameter]:
    """The parameters of a config by name."""
    values = yaml.safe_load(text)
    comments = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if colon and key in values and "#" in rest:
            comments[key] = rest.split("#", 1)[1].strip()
    return {key: Parameter(key, value, comments.get(key, "")) for key, value in values.items() if _plain(key, value)}


def settings_of(content: Mapping) -> dict:
    """What of laid configs a report tells: scalars, and lists of numbers, as they are set."""
    return {key: value for key, value in content.items() if _plain(key, value) or _numbers(value)}


def stock_configs(words: Sequence[str] | None = None) -> list[str]:
    """The config files that the command line of `monai.bundle run` names, in order."""
    files = _value(_options(sys.argv[1:] if words is None else words).get("config_file", "configs/inference.yaml"))
    return [str(file) for file in (files if isinstance(files, list) else [files])]


def stock_settings(bundle_root: str | Path, words: Sequence[str] | None = None) -> dict:
    """The same for a run by `monai.bundle run`: from the config files that its command line names, and what it overrides."""
    given = _options(sys.argv[1:] if words is None else words)
    given.pop("config_file", None)
    content: dict = {}
    for file in stock_configs(words):
        path = Path(file) if Path(file).is_file() else Path(bundle_root, "configs", Path(file).name)
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file():
            content |= yaml.safe_load(path.read_text(encoding="utf-8"))
    known = settings_of(content)
    return known | {key: _value(text) for key, text in given.items() if key in known}


def stock_changes(bundle_root: str | Path, words: Sequence[str] | None = None) -> dict:
    """What the command line of a run by `monai.bundle run` sets otherwise than its config files do."""
    files = ["--config_file", repr(stock_configs(words))]
    stored = stock_settings(bundle_root, files)
    return {key: value for key, value in stock_settings(bundle_root, words).items() if value != stored[key]}


def _plain(key: str, value: object) -> bool:
    return not isinstance(value, dict | list) and key not in PLUMBING and not str(value).startswith(("$", "@", "%"))


def _numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, int | float) for v in value)


def _options(words: Sequence[str]) -> dict[str, str]:
    """`--key value` and `--key=value` of a command line."""
    options, key = {}, None
    for word in words:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            if equals:
                options[key], key = value, None
        elif key is not None:
            options[key], key = word, None
    return options


def _value(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return yaml.safe_load(text)

"""A bundle as an object: where it is, what it says of itself, and its parameters. Light: no torch is imported here."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from diffzoo.errors import InputError
from diffzoo.names import nearest

CHECKOUT = Path(__file__).resolve().parents[3] / "bundles"


def bundle_folders() -> list[Path]:
    """Folders that are searched for bundles: the checkout's, then the installed ones (DIFFZOO_HOME, or ~/.cache/diffzoo)."""
    home = Path(os.environ.get("DIFFZOO_HOME") or Path.home() / ".cache" / "diffzoo")
    return [folder for folder in (CHECKOUT, home / "bundles") if folder.is_dir()]


def installed() -> list["Bundle"]:
    """All bundles that are here, by name; the first of two with one name counts."""
    found: dict[str, Bundle] = {}
    for folder in bundle_folders():
        for root in sorted(folder.iterdir()):
            if (root / "configs" / "metadata.json").is_file():
                found.setdefault(root.name, Bundle(root))
    return [found[name] for name in sorted(found)]


def find(name: str) -> "Bundle":
    """The bundle of that name, or at that path; InputError naming the nearest otherwise."""
    path = Path(name)
    if path.is_dir() and (path / "configs" / "metadata.json").is_file():
        return Bundle(path.resolve())
    known = {bundle.root.name: bundle for bundle in installed()}
    if name not in known:
        raise InputError(f"no bundle {name!r}; {nearest(name, known)}")
    return known[name]


@dataclass(frozen=True)
class Parameter:
    """A top-level scalar of inference.yaml: its name, default, and the comment beside it."""

    name: str
    default: str | int | float | bool | None
    help: str


PLUMBING = ("bundle_root", "dataset_dir", "output_dir", "device_name", "weights")  # set by the command's own options


@dataclass(frozen=True)
class Bundle:
    """One folder of configs, weights and documents."""

    root: Path

    @cached_property
    def metadata(self) -> dict:
        """configs/metadata.json; InputError when it is not JSON."""
        try:
            return json.loads((self.root / "configs" / "metadata.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(f"{self.root.name}: metadata.json cannot be read: {error}") from error

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def weights(self) -> Path:
        """The weight file."""
        return self.root / "models" / "model.safetensors"

    def config(self, name: str) -> Path:
        """The config file of that name ("inference", "train", "evaluate", "published"); InputError naming the others otherwise."""
        path = self.root / "configs" / f"{name}.yaml"
        if not path.is_file():
            known = [p.stem for p in (self.root / "configs").glob("*.yaml")]
            raise InputError(f"{self.name} has no config {name!r}; {nearest(name, known)}")
        return path

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """What a person may set: the top-level scalars of inference.yaml, in order, with their comments."""
        text = self.config("inference").read_text()
        values = yaml.safe_load(text)
        comments = {}
        for line in text.splitlines():
            key, colon, rest = line.partition(":")
            if colon and key in values and "#" in rest:
                comments[key] = rest.split("#", 1)[1].strip()
        return {
            key: Parameter(key, value, comments.get(key, ""))
            for key, value in values.items()
            if not isinstance(value, dict | list) and key not in PLUMBING and not str(value).startswith(("$", "@", "%"))
        }

    def settings(self, pairs: list[str] | None) -> dict:
        """Checked overrides from "key=value" words; InputError for another form, an unknown key or a value of another type."""
        found = {}
        for pair in pairs or ():
            key, equals, text = pair.partition("=")
            if not equals:
                raise InputError(f"--set takes key=value, not {pair!r}")
            found[key] = self.checked(key, yaml.safe_load(text) if text else "")
        return found

    def checked(self, key: str, value):
        """A value that fits the parameter's default; InputError otherwise."""
        if key not in self.parameters:
            raise InputError(f"unknown parameter {key!r}; {nearest(key, self.parameters)}")
        default = self.parameters[key].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(default, str) and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, float):
            return int(value) if value.is_integer() else _refuse(key, value, default)
        if default is not None and type(value) is not type(default):
            _refuse(key, value, default)
        return value


def _refuse(key: str, value, default):
    kinds = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    raise InputError(f"parameter {key!r} takes {kinds[type(default)]} such as {default!r}, not {value!r}")

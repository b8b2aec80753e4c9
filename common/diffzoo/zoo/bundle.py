"""A bundle as an object: where it is, what it says of itself, and its parameters. Light: no torch is imported here."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml

from diffzoo.errors import InputError
from diffzoo.names import nearest
from diffzoo.parameters import Parameter, scalars, settings_of
from diffzoo.tasks.task import Task, task_of
from diffzoo.zoo.versions import home_folder, newest, split, versions_at

CHECKOUT = Path(__file__).resolve().parents[3] / "bundles"


def bundle_folders() -> list[Path]:
    """Folders that are searched for bundles: the checkout's, then the installed ones (DIFFZOO_HOME, or ~/.cache/diffzoo)."""
    return [folder for folder in (CHECKOUT, home_folder() / "bundles") if folder.is_dir()]


def installed() -> list["Bundle"]:
    """All bundles that are here, by name; the first of two with one name counts."""
    bundles: dict[str, Bundle] = {}
    for folder in bundle_folders():
        for root in sorted(folder.iterdir()):
            if there := versions_at(root):
                root = there[newest(there)]
            if (root / "configs" / "metadata.json").is_file():
                bundles.setdefault(root.name, Bundle(root))
    return [bundles[name] for name in sorted(bundles)]


def find(name: str) -> "Bundle":
    """The bundle of that name, of NAME==VERSION, or at that path; InputError naming the nearest otherwise."""
    path = Path(name)
    if _holds_bundle(path):
        return Bundle(path.resolve())
    if "==" in name:
        bare, version = split(name)
        there = versions_at(home_folder() / "bundles" / bare)
        if version not in there:
            raise InputError(f"{bare} {version} is not installed; {nearest(version, there)}")
        return Bundle(there[version])
    known = {bundle.root.name: bundle for bundle in installed()}
    if name not in known:
        raise InputError(f"no bundle {name!r}; {nearest(name, known)}")
    return known[name]


def is_here(name: str) -> bool:
    """Whether `find` finds a bundle of that name, of NAME==VERSION, or at that path."""
    bare, _, version = name.partition("==")
    if version:
        return version in versions_at(home_folder() / "bundles" / bare)
    return _holds_bundle(Path(name)) or name in {bundle.root.name for bundle in installed()}


SHOWN = ("name", "version", "kind", "task", "description", "headline", "intended_use", "limits", "accepts", "gives", "licenses")
SHOWN += ("references", "weights_sha256")


def _holds_bundle(path: Path) -> bool:
    try:
        return path.is_dir() and (path / "configs" / "metadata.json").is_file()
    except OSError:  # a current folder that may not be read
        return False


@dataclass(frozen=True)
class Bundle:
    """One folder of configs, weights and documents."""

    root: Path

    @cached_property
    def metadata(self) -> dict:
        """configs/metadata.json; InputError when it is not JSON or lacks what every command shows."""
        try:
            content = json.loads((self.root / "configs" / "metadata.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.root.name}: metadata.json cannot be read: {error}") from error
        if lacking := [key for key in SHOWN if key not in content]:
            raise InputError(f"{self.root.name}: metadata.json lacks {', '.join(lacking)}")
        return content

    @property
    def name(self) -> str:
        return self.root.name

    @cached_property
    def task(self) -> Task:
        """The task that its metadata names as `kind`; InputError for one that is not known."""
        return task_of(self.metadata["kind"])

    @property
    def weights(self) -> Path:
        """The weight file."""
        return self.root / "models" / "model.safetensors"

    def config(self, name: str) -> Path:
        """The config file of that name ("inference", "train", "evaluate", ...); InputError naming the others otherwise."""
        path = self.root / "configs" / f"{name}.yaml"
        if not path.is_file():
            known = [p.stem for p in (self.root / "configs").glob("*.yaml")]
            raise InputError(f"{self.name} has no config {name!r}; {nearest(name, known)}")
        return path

    @property
    def overlays(self) -> list[str]:
        """Names of the configs that are laid over inference.yaml."""
        return sorted(
            p.stem for p in (self.root / "configs").glob("*.yaml") if p.stem != "inference" and not p.stem.startswith("train")
        )

    def parameters(self, configs: Sequence[str] = ("inference",)) -> dict[str, Parameter]:
        """What a person may set: the top-level scalars of configs laid over each other, in order, with their comments."""
        parameters: dict[str, Parameter] = {}
        for config in configs:
            for key, parameter in scalars(self.config(config).read_text(encoding="utf-8")).items():
                parameters[key] = (
                    parameter if parameter.help or key not in parameters else replace(parameter, help=parameters[key].help)
                )
        return {key: _limited(parameter, self._allowed(key, configs)) for key, parameter in parameters.items()}

    def _allowed(self, key: str, configs: Sequence[str]) -> Sequence:
        """What metadata.json declares of a parameter, for one of these configs before the bundle as a whole."""
        path = self.root / "configs" / "metadata.json"
        declared = self.metadata.get("parameters", {}) if path.is_file() else {}
        own = [declared[config][key] for config in configs if key in dict(declared.get(config, {}))]
        return own[-1] if own else declared.get(key, ())

    def reported(self, configs: Sequence[str]) -> dict:
        """What a report tells of the settings of configs laid over each other: scalars, and lists of numbers."""
        return settings_of(
            {k: v for config in configs for k, v in yaml.safe_load(self.config(config).read_text(encoding="utf-8")).items()}
        )

    def settings(self, pairs: Sequence[str] | None, configs: Sequence[str] = ("inference",)) -> dict:
        """Checked overrides from "key=value" words; InputError for another form, an unknown key or a value of another type."""
        values = {}
        for pair in pairs or ():
            key, equals, text = pair.partition("=")
            if not equals:
                raise InputError(f"--set takes key=value, not {pair!r}")
            try:
                values[key] = yaml.safe_load(text) if text and ":" not in text else text  # YAML reads 18:21 as 18 x 60 + 21
            except yaml.YAMLError:
                values[key] = text
        return self.checked(values, configs)

    def checked(self, values: Mapping, configs: Sequence[str] = ("inference",)) -> dict:
        """Values by name that fit the parameters' defaults; InputError otherwise."""
        known = self.parameters(configs)
        for key in values:
            if key not in known:
                raise InputError(f"unknown parameter {key!r}; {nearest(key, known)}")
            if str(values[key]).startswith(("$", "@", "%")):
                raise InputError(f"parameter {key!r} takes a plain value, not the expression {values[key]!r}")
        fitted = {key: _fitted(known[key], value) for key, value in values.items()}
        for key, value in fitted.items():
            if not known[key].allows(value):
                raise InputError(f"parameter {key!r} takes {known[key].words}, not {value!r}{_near(known[key], value)}")
        return fitted


def _near(parameter: Parameter, value) -> str:
    words = nearest(value, parameter.choices or ())
    return f"; {words}" if words.startswith("did you mean") else ""  # all choices are in the line before


def _limited(parameter: Parameter, allowed: Sequence) -> Parameter:
    if not allowed or isinstance(allowed, Mapping):
        return parameter
    if isinstance(allowed[0], str):
        return replace(parameter, choices=tuple(allowed))
    return replace(parameter, limits=(float(allowed[0]), float(allowed[1])))


def _number(text: str) -> float | str:
    """YAML takes 1e-2 for text."""
    try:
        return float(text) if math.isfinite(float(text)) else text
    except ValueError:
        return text


def _fitted(parameter: Parameter, value):
    """The value in the type of the default: whole numbers where it is one, text from a bare number; InputError otherwise.

    null is taken where the default is null, or where the parameter's comment offers it.
    """
    default = parameter.default
    if isinstance(default, float) and isinstance(value, str):
        value = _number(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if default is None or type(value) is type(default) or (value is None and "null" in parameter.help):
        return value
    if isinstance(default, float) and number:
        return float(value)
    if isinstance(default, str) and number:
        return str(value)
    if isinstance(default, int) and not isinstance(default, bool) and number and float(value).is_integer():
        return int(value)
    kinds = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    raise InputError(f"parameter {parameter.name!r} takes {kinds[type(default)]} such as {default!r}, not {value!r}")

"""Checks of a bundle's configs as text: nothing of them is run."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from importlib import metadata as packages
from pydoc import locate

from diffzoo.parameters import Parameter
from diffzoo.zoo.metadata import problems
from diffzoo.zoo.verify.check import refuse
from diffzoo.zoo.verify.files import METADATA, findings
from diffzoo.zoo.verify.subject import Subject, trains
from diffzoo.zoo.versions import at_least

FILE_RULES = ("file", "name", "link", "leftover", "size", "weights")  # of the scan, told by the checks of files
NAMESPACES = ("diffzoo.", "monai.", "torch.", "ignite.")
WORDS = {"_target_", "_mode_", "_disabled_", "_desc_"}
REFERENCE = re.compile(r"@(\w+(?:::\w+)*)")
GRAMMAR = (ast.Expression, ast.BinOp, ast.Add, ast.Mult, ast.Div, ast.Name, ast.Load, ast.Constant, ast.Attribute)


def scan(subject: Subject) -> str:
    """The static scan refuses nothing in the configs and logging.conf."""
    refused = [f for f in subject.refused if f.rule not in FILE_RULES and f.file != METADATA]
    findings(refused)
    return f"{len(subject.config_files)} configs and logging.conf: nothing refused"


def metadata(subject: Subject) -> str:
    """metadata.json meets MONAI's schema 20240725 and that of the zoo, offline: licences, split, changelog, paths."""
    subject.after("files")
    findings([f for f in subject.refused if f.file == METADATA])
    content = json.loads((subject.root / METADATA).read_text(encoding="utf-8"))
    refuse(problems(content), f"mend {METADATA}; another bundle shows the form")
    return f"{content['name']} {content['version']}, both schemas"


def dependencies(subject: Subject) -> str:
    """The packages that metadata asks for are dependencies of the zoo, and this installation has them."""
    content = subject.metadata
    needed = {"monai": content["monai_version"], "torch": content["pytorch_version"], "numpy": content["numpy_version"]}
    needed |= content["required_packages_version"]
    known = {re.match(r"[\w.-]+", line)[0].lower() for line in packages.requires("diffzoo") or ()} | {"diffzoo"}
    refuse([f"{name} is no dependency of diffzoo" for name in needed if name.lower() not in known], "do without it")
    older = [f"{n} {least} is asked for, here is {packages.version(n)}" for n, least in needed.items() if not _has(n, least)]
    refuse(older, "ask for a version that the zoo has: constraints.txt of the repository lists them")
    return f"{len(needed)} packages, monai {needed['monai']}"


def _has(name: str, least: str) -> bool:
    return at_least(packages.version(name), least)


def headers(subject: Subject) -> str:
    """The first comment of a config says what it does, its result and time, and the command that runs it."""
    subject.after("files", "scan")
    faults = []
    for path in subject.config_files:
        head = _head(path.read_text(encoding="utf-8"))
        lines = [line for line in head[1:] if not line.startswith("Run:")]
        if len(head) < 2 or len(head[0]) <= 30:
            faults.append(f"{path.name} does not say in its first line what it does")
        elif not any("diffzoo" in line or "monai.bundle" in line for line in head):
            faults.append(f"{path.name} names no command that runs it")
        elif path.name != "evaluate.yaml" and not any(re.search(r"\d", line) for line in lines):
            faults.append(f"{path.name} tells no result and no time")  # an evaluation reaches nothing of its own
    refuse(faults, "begin the config with three comment lines: what it does; Measured: ...; Run: ...")
    return f"{len(subject.config_files)} configs"


def _head(text: str) -> list[str]:
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.lstrip("# ") for line in lines[:end]]


def parameters(subject: Subject) -> str:
    """Every parameter of every config has a comment, and those of a run their limits or choices, which `diffzoo info` shows."""
    subject.after("metadata")
    faults, count = [], 0
    for stem in subject.configs:
        base = "train" if trains(stem) else "inference"
        known = subject.bundle.parameters((base, stem) if stem != base else (base,))
        faults += [f"{stem}.yaml: {key} has no comment" for key, parameter in known.items() if not parameter.help]
        count += len(known)
        faults += [f"{stem}.yaml: {line}" for line in _limits(known.values(), stem == base)] if base == "inference" else []
    refuse(faults, "write beside it what it is, its unit, and the values it takes; limits and choices in metadata.json")
    return f"{count} parameters"


def _limits(known: Iterable[Parameter], every: bool) -> Iterator[str]:
    """What is wrong with the limits of the parameters of a run; every: whether each number must have some."""
    for parameter in known:
        number = isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)
        if number and every and not parameter.limits:
            yield f"{parameter.name} is a number without limits under parameters of metadata.json"
        elif not parameter.allows(parameter.default):
            yield f"{parameter.name} is {parameter.default!r}, which metadata.json does not allow ({parameter.words})"


def nodes(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """All (place, value) of a config, containers first."""
    yield place, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from nodes(inner, f"{place}::{key}".removeprefix("::"))


def targets(subject: Subject) -> str:
    """What configs name as _target_ is of the package or a library of the zoo, and is there."""
    faults, seen = [], set()
    for stem, content in subject.configs.items():
        for place, value in nodes(content):
            if not isinstance(value, dict):
                continue
            if strange := {key for key in value if str(key).startswith("_")} - WORDS:
                faults.append(f"{stem}.yaml, {place}: {sorted(strange)[0]} is not for bundles")
            if value.get("_mode_", "callable") != "callable":
                faults.append(f"{stem}.yaml, {place}: _mode_ is {value['_mode_']!r}")
            if "_target_" in value:
                target = value["_target_"]
                seen.add(target)
                if not target.startswith(NAMESPACES) or not callable(locate(target)):
                    faults.append(f"{stem}.yaml, {place}: there is no {target}")
    refuse(faults, "name a class or function by its full path, as in `from PATH import NAME`")
    return f"{len(seen)} targets"


def expressions(subject: Subject) -> str:
    """Expressions are of the small grammar: references, numbers and text, joined by + * / and attributes; no macros."""
    texts = [(f"{s}.yaml, {p}", v) for s, content in subject.configs.items() for p, v in nodes(content) if isinstance(v, str)]
    faults = [f"{place}: {value}" for place, value in texts if value.startswith("$") and not is_simple(value[1:])]
    faults += [f"{place}: {value} is a macro" for place, value in texts if value.startswith("%")]
    refuse(faults, "make it a parameter, or write a function in the package and name it as _target_")
    return f"{sum(value.startswith('$') for _, value in texts)} expressions"


def is_simple(expression: str) -> bool:
    """Whether it is made of references, numbers and text, joined by + * /, and attributes without a leading underscore."""
    try:
        tree = ast.parse(re.sub(r"@\w+(::\w+)*", "ref", expression), mode="eval")
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            return False
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float):
            return False
        if not isinstance(node, GRAMMAR):
            return False
    return True


def references(subject: Subject) -> str:
    """Every @reference points at something, in each set of configs that is laid over each other."""
    faults, count = [], 0
    for names in [*subject.inference_sets, *subject.training_sets]:
        laid: dict = {}
        for stem in names:
            laid |= subject.configs[stem]
        for place, value in nodes(laid):
            for reference in REFERENCE.findall(value) if isinstance(value, str) and value[:1] in ("@", "$") else ():
                count += 1
                if not _leads(laid, reference.split("::")):
                    faults.append(f"{'+'.join(names)}, {place}: @{reference} is not there")
    refuse(faults, "mend the reference, or add what it names")
    return f"{count} references"


def _leads(laid: object, parts: list[str]) -> bool:
    for part in parts:
        if isinstance(laid, list) and part.isdigit() and int(part) < len(laid):
            laid = laid[int(part)]
        elif isinstance(laid, dict) and part in laid:
            laid = laid[part]
        else:
            return False
    return True


ASKED = ("expand",)  # ids that `zoo.session` asks a config for where they are there


def _within(content: object, place: str) -> bool:
    """Whether a config has a key, or what an id such as train::handlers::4 leads to."""
    for part in place.split("::"):
        listed = isinstance(content, list) and part.isdigit() and int(part) < len(content)
        if not (listed or (isinstance(content, dict) and part in content)):
            return False
        content = content[int(part) if listed else part]
    return True


def overlays(subject: Subject) -> str:
    """An overlay only changes what its base has, or uses what it adds: a misspelt key would change nothing."""
    faults = []
    for stem, content in subject.configs.items():
        base = subject.configs["train" if trains(stem) else "inference"]
        used = {r for _, v in nodes(content) if isinstance(v, str) for r in re.findall(r"@(\w+)", v)}
        faults += [
            f"{stem}.yaml: {key} is neither in its base nor used"
            for key in content
            if not (_within(base, key) or key in used or key in ASKED)
        ]
    refuse(faults, "mend the spelling, or take it out")
    return f"{len(subject.configs)} configs"

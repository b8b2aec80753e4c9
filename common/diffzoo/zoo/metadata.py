"""An offline check of a bundle's metadata.json: MONAI's schema 20240725, and what this zoo asks for beyond it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.tasks.task import names

SCHEMA = Path(__file__).with_name("metadata_schema.json")
MONAI_ENTRY = "#/$defs/monai"  # the part of SCHEMA that is MONAI's own

# SPDX identifiers that bundles may use; LicenseRef-* is for terms without one, which docs/data_license.txt must then tell
SPDX = frozenset(
    {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "CC0-1.0", "PDDL-1.0", "ODC-By-1.0"}
    | {"CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"}
    | {"GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "LGPL-3.0-or-later"}
)
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|mnt|data|opt|srv|scratch|Users|Volumes)/|\b[A-Za-z]:\\")


def problems(metadata: Mapping) -> list[str]:
    """What is wrong with the content of a metadata.json, a line each with the place of it; empty when all is well.

    Raises InputError where the package jsonschema is missing.
    """
    lines = [*_against_schema(metadata)]
    if lines:
        return lines  # the checks below take the form for granted
    return [*_kind(metadata), *_changelog(metadata), *_licences(metadata), *_split(metadata), *_paths(metadata)]


def _against_schema(metadata: Mapping) -> Iterator[str]:
    try:
        from jsonschema import Draft202012Validator
    except ImportError as error:
        raise InputError("checking metadata needs jsonschema: pip install jsonschema") from error
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    errors = sorted(validator.iter_errors(metadata), key=lambda e: e.json_path)
    others = [error for error in errors if error.validator != "unevaluatedProperties"]
    for error in others or errors:  # where one key is wrong, the schema calls all others unevaluated
        yield f"{error.json_path.removeprefix('$').removeprefix('.') or 'metadata'}: {_first_line(error.message)}"


def _first_line(message: str) -> str:
    line = message.splitlines()[0]
    return line if len(line) <= 200 else f"{line[:80]} ... {line[-110:]}"


def _kind(metadata: Mapping) -> Iterator[str]:
    if metadata["kind"] not in names():
        yield f"kind: is {metadata['kind']!r}, but the tasks are {', '.join(names())}"


def _changelog(metadata: Mapping) -> Iterator[str]:
    if metadata["version"] not in metadata["changelog"]:
        yield f"changelog: says nothing of version {metadata['version']}"
    newest = max(metadata["changelog"], key=lambda v: tuple(map(int, v.split("."))))
    if newest != metadata["version"]:
        yield f"version: is {metadata['version']}, the newest in changelog is {newest}"


def _licences(metadata: Mapping) -> Iterator[str]:
    named = dict(metadata["licenses"])
    named |= {f"training_data.sources[{i}]": source["license"] for i, source in enumerate(metadata["training_data"]["sources"])}
    for place, expression in named.items():
        for word in identifiers(expression):
            if word not in SPDX and not word.startswith("LicenseRef-"):
                yield f"licenses: {word!r} of {place} is no SPDX identifier known here (LicenseRef-NAME for other terms)"


def identifiers(expression: str) -> list[str]:
    """The licence identifiers of an SPDX expression such as "MIT AND CC-BY-4.0"."""
    return [word for word in expression.split() if word not in ("AND", "OR")]


def _split(metadata: Mapping) -> Iterator[str]:
    split = metadata["training_data"]["split"]
    for part, content in split.items():
        if content["count"] != len(content["files"]):
            yield f"training_data.split.{part}: count is {content['count']}, but {len(content['files'])} files are listed"
    taken: dict[str, list[tuple[str, set[int] | None]]] = {}
    for part, content in split.items():
        for name, digest in content["files"].items():
            mine = _slices(content.get("slices", {}).get(name))
            for owner, theirs in taken.get(digest, []):
                if mine is None or theirs is None or mine & theirs:
                    yield f"training_data.split.{part}: {name} is in {owner} too"
            taken.setdefault(digest, []).append((part, mine))


def _slices(text: str | None) -> set[int] | None:
    """Slices of "0:58, 92:104"; None stands for all of a file."""
    blocks = [] if text is None else [block.split(":") for block in text.split(",")]
    return {k for first, stop in blocks for k in range(int(first), int(stop))} or None


def _paths(value: Mapping, place: str = "") -> Iterator[str]:
    if isinstance(value, str) and MACHINE_PATH.search(value):
        yield f"{place.lstrip('.')}: {value!r} holds a path of one machine"
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(key, f"{place}.{key}") if isinstance(key, str) else ()
        yield from _paths(inner, f"{place}.{key}")

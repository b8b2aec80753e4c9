"""A config file (YAML, JSON, metadata.json) as MONAI's parser would take it, checked value by value and evaluated nowhere."""

import json
import re
from collections.abc import Iterator

import yaml

from . import expressions, targets
from .finding import Finding, shown

DEPTH, NODES = 32, 50_000
MODES = ("default", "callable")  # MONAI's third, debug, starts a debugger
WORDS = ("_target_", "_mode_", "_disabled_", "_requires_", "_desc_")  # with a meaning to MONAI; _debug_ is one more
TOP_KEY = re.compile(r"\+?[A-Za-z0-9][\w-]*((::|#)\w+)*", re.ASCII)  # "a::b" sets b inside a, "+a" extends a

PATH = "write $@output_dir + '/name', or leave it to the person who runs the bundle"


class Unreadable(ValueError):
    """Why a config file is refused as a whole."""


class _Strict(yaml.SafeLoader):
    """The loader that MONAI has, less what makes two readers disagree or a small file large."""

    depth = nodes = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        if event.anchor is not None:
            raise Unreadable(f"line {event.start_mark.line + 1} has an anchor or alias: refer to @id, or write the value out")
        if getattr(event, "tag", None) is not None:
            raise Unreadable(f"line {event.start_mark.line + 1} has a tag {shown(event.tag)}: write a plain value")
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > DEPTH or self.nodes > NODES:
            raise Unreadable(f"more than {DEPTH} levels or {NODES} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise Unreadable(f"line {node.start_mark.line + 1} merges a mapping by <<: write its keys out")
        _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


def _unique(pairs: list[tuple]) -> dict:
    seen = set()
    for key, _ in pairs:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise Unreadable(f"the key {shown(key)} is neither text nor a whole number: quote it")
        if str(key) in seen:
            raise Unreadable(f"the key {shown(key)} is given twice: keep one")
        seen.add(str(key))
    return dict(pairs)


def read(name: str, data: bytes) -> dict:
    """The content of a config file; Unreadable for what is not one plain mapping in ASCII, each key once."""
    if not data.isascii() or any(byte < 32 and byte not in b"\n\r\t" for byte in data):
        # a reader in another locale takes bytes of UTF-8 for line ends
        raise Unreadable("not plain ASCII: write other characters as escapes, or in docs/")
    try:
        if name.endswith(".json"):
            document = json.loads(data.decode("ascii"), object_pairs_hook=_unique)
        else:
            document = yaml.load(data.decode("ascii"), _Strict)
    except Unreadable:
        raise
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        kind = "JSON" if name.endswith(".json") else "YAML"
        raise Unreadable(f"not {kind}: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(document, dict):
        raise Unreadable("not a mapping of names to values")
    return document


def check(file: str, content: dict, free_text: bool = False) -> Iterator[Finding]:
    """Findings in the content of a config; free_text: for metadata, whose strings and inner keys are for people."""
    for key, value in content.items():
        if not TOP_KEY.fullmatch(str(key)) and not (str(key) in WORDS and not free_text):
            yield Finding(file, shown(key), "key", "not a name that a config may set", "use letters, digits, _ and ::")
        where = str(key).lstrip("+").replace("#", "::")
        yield from _pair(file, where, where.rsplit("::", 1)[-1], value, free_text, top=True)


def _pair(file: str, where: str, name: str, value: object, free_text: bool, top: bool = False) -> Iterator[Finding]:
    """Findings in one value and in what its name makes of it."""
    place = shown(where, 120).strip("'\"")
    if name in WORDS and not free_text:
        yield from _word(file, place, name, value)
    elif name.startswith("_"):
        yield Finding(file, place, "key", f"the key {shown(name)} begins with _, as MONAI's own do", "rename it")
    if name in expressions.PATHS and isinstance(value, str) and not free_text and not expressions.below_place(value):
        if not (top and where in expressions.PLACES and expressions.default_place(value)):
            yield Finding(file, place, "path", f"{shown(value)} is no path below the bundle or the output folder", PATH)
    elif isinstance(value, str) and name not in ("_target_", "_desc_"):
        yield from _string(file, place, value, free_text)
    if isinstance(value, dict) and "_target_" in value and name in expressions.PATHS and not free_text:
        yield Finding(file, place, "path", "a path that is decided at run time", PATH)
    if isinstance(value, dict | list):
        yield from _inside(file, where, value, free_text)


def _inside(file: str, where: str, value: dict | list, free_text: bool) -> Iterator[Finding]:
    if where.count("::") > DEPTH:
        yield Finding(file, shown(where, 120), "key", "nested too deeply", f"at most {DEPTH} levels")
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        name = str(key)
        if isinstance(value, dict) and not free_text:
            reason = "holds :: or #, which MONAI takes for levels" if "::" in name or "#" in name else None
            if reason or (reason := expressions.text_problem(name)):
                yield Finding(file, shown(where, 120), "key", f"the key {shown(name)}: {reason}", "use a plain name")
        yield from _pair(file, f"{where}::{name}", name if isinstance(value, dict) else "", inner, free_text)


def _word(file: str, place: str, name: str, value: object) -> Iterator[Finding]:
    """Findings in the value of one of MONAI's own keys."""
    if name == "_target_" and (problem := targets.problem(value)):
        yield Finding(file, place, "target", *problem)
    elif name == "_mode_" and value not in MODES:
        yield Finding(file, place, "mode", f"_mode_ is {shown(value)}", f"write {' or '.join(MODES)}")
    elif name == "_disabled_" and not (isinstance(value, bool) or expressions.is_reference(value)):
        yield Finding(file, place, "mode", f"_disabled_ is {shown(value)}", "write true, false or a reference")
    elif name == "_requires_" and not all(map(expressions.is_reference, value if isinstance(value, list) else [value])):
        yield Finding(file, place, "mode", f"_requires_ is {shown(value)}", "write references such as '@id'")
    elif name == "_desc_" and (not isinstance(value, str) or value[:1] in ("$", "@", "%")):
        yield Finding(file, place, "mode", f"_desc_ is {shown(value)}", "write plain text")


def _string(file: str, place: str, value: str, free_text: bool) -> Iterator[Finding]:
    if value.startswith("$"):
        reason = "metadata hold no expressions" if free_text else expressions.problem(value)
        if reason:
            yield Finding(file, place, "expression", reason, expressions.GRAMMAR)
    elif value.startswith("%"):
        if reason := expressions.macro_problem(value):
            yield Finding(file, place, "macro", reason, "write %id for an id of the same config, or the content itself")
    elif not free_text and not expressions.is_reference(value) and (reason := expressions.text_problem(value)):
        yield Finding(file, place, "path", reason, "write a plain word, or $@output_dir + '/name' for a file")


def macros(value: object) -> int:
    """How many strings of a config are macros: each copies content, and copies of copies grow without end."""
    if isinstance(value, str):
        return value.startswith("%")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(macros(item) for item in items)

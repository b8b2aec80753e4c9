"""A choice by name among functions."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def choice(what: str, name: str, among: Mapping[str, T]) -> T:
    """The value of that name; ValueError naming the nearest names, or all of them."""
    if name not in among:
        near = difflib.get_close_matches(str(name), sorted(among), n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(among))}"
        raise ValueError(f"unknown {what} {name!r}; {known}")
    return among[name]

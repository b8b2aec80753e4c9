"""A choice by name in a config."""

from collections.abc import Mapping
from typing import TypeVar

from diffzoo.errors import InputError
from diffzoo.names import nearest

T = TypeVar("T")


def choose(name: str, among: Mapping[str, T], what: str = "choice") -> T:
    """The value of that name; InputError naming the nearest ones otherwise."""
    if name not in among:
        raise InputError(f"unknown {what} {name!r}; {nearest(name, among)}")
    return among[name]

"""Which index is asked, and a bundle that is here or fetched from it. Light: torch comes with the last check of a download."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.zoo.bundle import CHECKOUT, Bundle, find, is_here
from diffzoo.zoo.index import INDEX, Index
from diffzoo.zoo.store import download, locked, published, writing
from diffzoo.zoo.transfer import base_of, is_remote
from diffzoo.zoo.trust import check
from diffzoo.zoo.versions import SEMANTIC, check_name, home_folder

SETTINGS = "settings.json"  # in the home folder
VARIABLE = "DIFFZOO_INDEX"
Say = Callable[[str], None]
SET_ONE = f"`diffzoo index set ADDRESS` (or {VARIABLE}, or --index) names one"


def chosen(index: str | None = None, home: str | Path | None = None) -> tuple[str, str] | None:
    """The index to ask, and what chose it: the one given, else DIFFZOO_INDEX, else the stored one, else the checkout's dist/.

    None where there is none. Raises InputError for settings that cannot be read.
    """
    if index:
        return index, "--index"
    if address := os.environ.get(VARIABLE):
        return address, VARIABLE
    if stored := _settings(home_folder(home)).get("index"):
        return str(stored), "stored"
    own = CHECKOUT.parent / "dist"
    return (str(own), "this checkout") if CHECKOUT.is_dir() and (own / INDEX).is_file() else None


def store_index(index: str, home: str | Path | None = None, unsigned: bool = False, say: Say = lambda line: None) -> Index:
    """Keeps an index as the one to ask from now on, once it has been read and its signature holds; InputError otherwise."""
    home = home_folder(home)
    listing = published(index, home, unsigned=unsigned, say=say)
    _write(home, _settings(home) | {"index": base_of(index)})
    return listing


def forget_index(home: str | Path | None = None) -> None:
    """Asks the stored index no more."""
    home = home_folder(home)
    _write(home, {key: value for key, value in _settings(home).items() if key != "index"})


def _settings(home: Path) -> dict:
    path = home / SETTINGS
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}): delete it, and set the index again") from error


def _write(home: Path, settings: dict) -> None:
    with locked(home), writing(home), atomic(home / SETTINGS) as beside:
        beside.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def guard(trust: bool) -> Callable[[Path], object]:
    """The scan of what was fetched, before it is installed."""
    return lambda root: check(Bundle(root), trust)


def obtain(
    name: str,
    index: str | None = None,
    *,
    offline: bool = False,
    unsigned: bool = False,
    trust: bool = False,
    say: Say = lambda line: None,
) -> Bundle:
    """The bundle of that name that is here, else fetched from the index, told in a line before; checks as `store.download` has.

    Raises InputError where it is not here and there is no index, the index does not have it, or `offline` forbids the network.
    """
    if is_here(name) or not _is_wanted(name):
        return find(name)
    address = chosen(index)
    if address is None:
        raise InputError(f"{_not_here(name)}, and no index is known to fetch it from: {SET_ONE}")
    if offline and is_remote(base_of(address[0])):
        raise InputError(f"{_not_here(name)}, and --offline forbids to fetch it: leave that out, or `diffzoo import` a kit")
    return Bundle(download(name, address[0], offline=offline, unsigned=unsigned, check=guard(trust), say=say))


def _is_wanted(name: str) -> bool:
    """Whether a text is NAME or NAME==VERSION, which an index may have, and no path."""
    bare, equals, version = name.partition("==")
    try:
        check_name(bare)
    except InputError:
        return False
    return not equals or SEMANTIC.fullmatch(version) is not None


def _not_here(name: str) -> str:
    try:
        find(name)
    except InputError as error:
        return str(error)
    return f"{name} is not here"

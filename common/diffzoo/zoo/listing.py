"""`diffzoo list`: what is here, where it is from, and what the index offers. Light."""

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import CHECKOUT, Bundle, installed
from diffzoo.zoo.index import Index
from diffzoo.zoo.obtain import SET_ONE, chosen
from diffzoo.zoo.store import provenance, published
from diffzoo.zoo.versions import newest, order

HEADINGS = ("bundle", "version", "where", "task", "measured")


def rows(index: str | None, unsigned: bool, offline: bool) -> tuple[list[tuple[str, ...]], list[str]]:
    """Rows under HEADINGS, those that are here first, and notes, such as that an index cannot be reached.

    With an index that was asked for by name an error of it is raised; without one it is a note.
    """
    notes: list[str] = []
    here = [] if index else [_row(bundle) for bundle in installed()]
    offered = None if offline and not index else _index(index, unsigned, notes)
    by_name = {row[0]: row for row in here}
    for name, versions in (offered.bundles if offered else {}).items():
        entry = versions[newest(versions)]
        if name not in by_name:
            by_name[name] = (name, entry.version, f"in the index, {entry.size / 2**20:.1f} MiB", entry.task, entry.headline)
        elif _newer(entry.version, by_name[name][1]):
            notes.append(f"{name}: the index has {entry.version}; `diffzoo download {name}=={entry.version}` fetches it")
    if not by_name and not notes:
        notes.append(f"no bundle is here, and no index is known: {SET_ONE}")
    return list(by_name.values()), notes


def _row(bundle: Bundle) -> tuple[str, ...]:
    try:
        data = bundle.metadata
        return bundle.name, data["version"], _where(bundle), data["task"], data["headline"]
    except InputError as error:
        return bundle.name, "-", _where(bundle), "broken", str(error)


def _where(bundle: Bundle) -> str:
    if bundle.root.parent == CHECKOUT:
        return "checkout"
    record = provenance(bundle.root)
    return f"installed, {record['level']}, from {record['from']}" if record else "installed by hand"


def _index(index: str | None, unsigned: bool, notes: list[str]) -> Index | None:
    address = chosen(index)
    if address is None:
        return None
    try:
        return published(address[0], unsigned=unsigned, say=notes.append)
    except InputError as error:
        if index:
            raise
        notes.append(f"the index could not be asked: {error}")
        return None


def _newer(version: str, other: str) -> bool:
    try:
        return order(version) > order(other)
    except InputError:
        return False

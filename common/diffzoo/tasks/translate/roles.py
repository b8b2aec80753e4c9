"""What each image of a person is: its role (t1, flair, ct), as the command, a datalist or its name tells. Light: no torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.names import nearest

ROLES = ("t1", "t1post", "t2", "flair", "ct", "cbct", "pet", "fullpet")
WORDS = {  # of a name; the first that fits counts
    "t1post": r"t1w?[-_]?(post|ce|gd|gad|c|contrast)|ce[-_](gad|gd|gadolinium)\w*?[-_]t1w?",
    "flair": r"(t2w?[-_]?)?flair",
    "t1": r"t1w?|mprage|mp2rage|spgr|bravo",
    "t2": r"t2w?",
    "fullpet": r"full[-_]?(dose|count)?[-_]?pet|pet[-_]?full([-_]?(dose|count))?",
    "pet": r"(fdg[-_]?)?pet",
    "cbct": r"cbct|cone[-_]?beam",
    "ct": r"ct",
}
MEASURED = ("ct", "cbct")  # in Hounsfield units, by which a loader knows them, so that their name need not tell
JOINED = "+"  # of roles that are given together


def role_of(stem: str) -> tuple[str | None, str]:
    """The role that a file's stem tells (None where it tells none), and the stem without it: ("t1", "sub-01") of "sub-01_T1w"."""
    for role, words in WORDS.items():
        if match := re.search(rf"(?<![a-z0-9])({words})(?![a-z0-9])", stem.lower()):
            rest = re.sub(r"[-_. ]{2,}", "_", stem[: match.start()] + "_" + stem[match.end() :]).strip("-_. ")
            return role, rest or stem
    return None, stem


def role_cases(cases: Sequence[Mapping], roles: Sequence[str], sources: Sequence[str] | None = None) -> list[dict]:
    """Cases of a person each from single images: {"image": the first one, <role>: path, ..., "case": name}.

    roles: those that the bundle knows; sources: those that it can be given (default: all). A case that came with "role"
    (`-i t1=a.nii.gz`) is part of one case; one that names roles itself (a datalist) stays; the others are joined by folder
    and name less its role. Where the bundle takes one role alone, an image whose name tells none has that one, and where that is
    one of MEASURED any image whose name tells none of `roles`. What is wrong with a case is told under "problem", for the case to
    fail by itself.
    """
    sources = list(sources or roles)
    joined: dict[tuple, dict] = {}
    for case in cases:
        own = {role: case[role] for role in ROLES if case.get(role) is not None}
        key, name, place = _place(case, own, roles, sources)
        group = joined.setdefault(key, {"image": case["image"], **{k: v for k, v in case.items() if k != "role"}, "case": name})
        for role, path in (own or {place: case["image"]}).items():
            _add(group, role, path, roles)
    return _named(list(joined.values()))


def _place(case: Mapping, own: Mapping, roles: Sequence[str], sources: Sequence[str]) -> tuple[tuple, str, str | None]:
    """What joins an image with others, the case's name, and the image's role."""
    stem = str(case.get("case") or Path(str(case["image"])).name)
    role, rest = role_of(stem)
    if case.get("role"):
        return ("given",), rest, str(case["role"]).lower()
    if own:
        return ("listed", *sorted(map(str, own.values()))), rest, None
    if len(sources) == 1 and (role is None or (sources[0] in MEASURED and role not in roles)):
        role = sources[0]
    folder = Path(case["image"]).parent if isinstance(case["image"], str | Path) else ""
    return ("named", str(folder), rest), rest if role in sources and len(sources) > 1 else stem, role


def _add(group: dict, role: str | None, path: str, roles: Sequence[str]) -> None:
    """Puts an image into a case, or tells why it cannot be."""
    if role is None:
        text = f"{path}: its name tells none of {', '.join(roles)}: rename it, or give -i {roles[0]}={Path(str(path)).name}"
    elif role not in roles:
        text = f"{path}: {role} is no image that this bundle takes; {nearest(role, roles)}"
    elif group.get(role) not in (None, path):
        text = f"{path}: a second {role} beside {group[role]}: keep one of them"
    else:
        group[role] = path
        return
    group.setdefault("problem", text)


def _named(cases: list[dict]) -> list[dict]:
    """The same, no two of one name."""
    seen: dict[str, int] = {}
    for case in cases:
        seen[case["case"]] = seen.get(case["case"], 0) + 1
        if seen[case["case"]] > 1:
            case["case"] = f"{case['case']}_{seen[case['case']]}"
    return cases


def available(case: Mapping, roles: Iterable[str]) -> list[str]:
    """The roles of which a case has an image."""
    return [role for role in roles if case.get(role) is not None]


def with_first(case: Mapping, roles: Sequence[str]) -> dict:
    """The case with the role of its "image" beside those it names: told by the image's name, else the first of `roles`.

    Raises InputError for a case with a "problem" (`role_cases`).
    """
    if case.get("problem"):
        raise InputError(str(case["problem"]))
    image = case["image"]
    if any(case.get(role) is image or str(case.get(role)) == str(image) for role in roles):
        return dict(case)
    named = role_of(Path(image).name)[0] if isinstance(image, str | Path) else None
    return dict(case) | {named if named in roles else roles[0]: image}


def chosen(text: str, roles: Sequence[str], what: str = "target") -> list[str]:
    """Roles from "t2,flair" or "t2+flair"; InputError naming the nearest for one that is not known."""
    words = [word.strip().lower() for word in re.split(r"[,+ ]", str(text)) if word.strip()]
    for word in words:
        if word not in roles:
            raise InputError(f"{what}={text}: unknown role {word!r}; {nearest(word, roles)}")
    return [role for role in roles if role in words]


def pattern_cases(
    cases: Sequence[Mapping],
    roles: Sequence[str],
    sources: Sequence[str],
    targets: Sequence[str],
    given: str = "all",
    apart: bool = False,
) -> list[dict]:
    """Cases of an evaluation: each person once for each set of images that is given, the others being the truth.

    given: "all" for every set that leaves a target to be made and known, or sets such as "t1+t2,flair". A case gets "given",
    and its name `<person>_from_t1_t2`; with `apart` each target is a case by itself,
    its "wanted". One that can be measured in no way gets a "problem".
    """
    patterns = []
    for case in role_cases(cases, roles, roles):
        here = available(case, roles)
        sets = _sets(given, [r for r in sources if r in here], sources)
        fit = [
            subset
            for subset in sets
            if subset and set(subset) <= set(here) and any(t in here and t not in subset for t in targets)
        ]
        for subset in fit:
            name = f"{case['case']}_from_{'_'.join(subset)}"
            entry = case | {"given": JOINED.join(subset), "person": case["case"]}
            known = [t for t in targets if t in here and t not in subset] if apart else []
            patterns += [entry | {"wanted": t, "case": f"{name}_to_{t}"} for t in known] or [entry | {"case": name}]
        if not fit:
            text = f"nothing to compare with: an evaluation needs images to give and one of {', '.join(targets)}"
            patterns.append({"problem": f"{case['case']}: {text}; here are {', '.join(here) or 'none'}", **case})
    return patterns


def _sets(given: str, here: Sequence[str], sources: Sequence[str]) -> list[list[str]]:
    """The sets of images that are given in turn."""
    if given != "all":
        return [chosen(text, sources, "given") for text in given.split(",")]
    return [list(subset) for k in range(1, len(here) + 1) for subset in combinations(here, k)]

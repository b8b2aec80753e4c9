"""Means over people, and how far they may be trusted: an interval asks what other people would have given, not other slices."""

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from scipy.stats import t as student

from diffzoo.metrics.intervals import FEW


def person_means(values: Sequence[float], people: Sequence[Hashable]) -> dict[Hashable, float]:
    """The mean of the finite values of each person, in the order in which people come; a person without one is left out."""
    grouped: dict[Hashable, list[float]] = {}
    for value, person in zip(values, people, strict=True):
        if value is not None and np.isfinite(value):
            grouped.setdefault(person, []).append(float(value))
    return {person: float(np.mean(own)) for person, own in grouped.items()}


def grouped(cases: Sequence[Mapping], name: Callable[[Mapping], str]) -> dict[str, list[Mapping]]:
    """Records of cases by a name, such as that of `person_of`, in the order in which names come."""
    groups: dict[str, list[Mapping]] = {}
    for case in cases:
        groups.setdefault(name(case), []).append(case)
    return groups


def person_of(case: Mapping) -> str:
    """Whose a case is: its "subject", else its "person" where one scan makes several cases, else the case alone."""
    return str(case.get("subject", case.get("person", case["case"])))


def interval(means: Mapping[Hashable, float], level: float = 0.95) -> tuple[float, float] | None:
    """Bounds of the mean over people by the delete-one-person jackknife with Student's t; None for fewer than `FEW` people.

    A key is a person, or a tuple of the people who share a value, such as a registered pair: all values of a person are then left
    out together, in whatever role, so that pairs which share people do not count as independent (Efron & Stein 1981). For one
    person a value this is the t interval of the mean. Raises ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not {level}")
    shares = [frozenset(key) if isinstance(key, tuple) else frozenset([key]) for key in means]
    values, people = np.array(list(means.values()), np.float64), sorted(set().union(*shares), key=str)
    if len(people) < FEW:
        return None
    without = [np.array([person not in share for share in shares]) for person in people]
    if not all(kept.any() for kept in without):
        return None
    left = np.array([values[kept].mean() for kept in without])
    count = len(people)
    error = np.sqrt((count - 1) / count * np.sum((left - left.mean()) ** 2))
    reach = student.ppf((1 + level) / 2, count - 1) * error
    return float(values.mean() - reach), float(values.mean() + reach)


def summary(values: Sequence[float], people: Sequence[Hashable]) -> dict:
    """{"mean", "interval", "people"}: of a figure over people, its interval [low, high] or None, and how many people it is of.

    people: a person, or a tuple of people, for each value; several values of one count as their mean.
    """
    means = person_means(values, people)
    if not means:
        return {"mean": None, "interval": None, "people": 0}
    bounds = interval(means)
    count = len(set().union(*(set(key) if isinstance(key, tuple) else {key} for key in means)))
    return {"mean": float(np.mean(list(means.values()))), "interval": list(bounds) if bounds else None, "people": count}

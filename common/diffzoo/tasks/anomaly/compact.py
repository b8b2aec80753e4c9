"""An evaluation of anomaly detection in few bytes: means, what each person and each case gave, intervals of AUPRC alone."""

from collections.abc import Mapping, Sequence

KEPT = ("mean", "threshold", "network_calls", "seconds")
INTERVAL = "by_subject"


def compact(summary: Mapping, cases: Sequence[Mapping]) -> dict:
    """What is kept of a `DetectionTable`: its summary made small, and the AUPRC of each case; cases: their records.

    "groups": of the first method the mean of every figure, of all the mean and the interval of "auprc"; "healthy" keeps its
    means; "cases" has the AUPRC of each method, and "subjects" its mean by group and person. Numbers have four digits.
    """
    groups = {name: _group(group) for name, group in summary.get("groups", {}).items()}
    small = {key: summary[key] for key in KEPT if key in summary}
    small |= {"groups": groups, "healthy": _healthy(summary.get("healthy"))}
    marked = [case for case in cases if "metrics" in case]
    small |= {"cases": {case["case"]: _auprc(case) for case in marked}, "subjects": _subjects(marked)}
    return _rounded(small)


def _group(group: Mapping) -> dict:
    methods = {
        method: {
            key: {"mean": value["mean"]} | ({INTERVAL: value[INTERVAL]} if key == "auprc" else {})
            for key, value in figures.items()
            if not place or key == "auprc"
        }
        for place, (method, figures) in enumerate(group["methods"].items())
    }
    return {**group, "methods": methods}


def _healthy(healthy: Mapping | None) -> dict | None:
    return {**healthy, "fpr": {"mean": healthy["fpr"]["mean"]}} if healthy else None


def _auprc(case: Mapping) -> dict[str, float]:
    return {method: values["auprc"] for method, values in case["metrics"].items()}


def _subjects(cases: list[Mapping]) -> dict:
    """AUPRC by group and person: {group: {person: {method: mean}}}."""
    gathered: dict[str, dict[str, list]] = {}
    for case in cases:
        people = gathered.setdefault(str(case.get("group", "lesions")), {})
        people.setdefault(str(case.get("subject", case["case"])), []).append(_auprc(case))
    return {
        group: {
            person: {method: sum(figures[method] for figures in values) / len(values) for method in values[0]}
            for person, values in people.items()
        }
        for group, people in gathered.items()
    }


def _rounded(value):
    """The value with every float of it at four digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list) else value

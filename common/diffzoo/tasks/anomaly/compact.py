"""An evaluation of anomaly detection in few bytes: means, what each person and each case gave, intervals of AUPRC alone."""

from collections.abc import Mapping

KEPT = ("what", "settings", "weights_sha256", "mean", "threshold", "network_calls", "seconds")
INTERVALS = ("by_subject", "by_case")


def compact(entry: Mapping, metrics: Mapping) -> dict:
    """What `tables.entry_of` gives for a `DetectionTable`, made small; metrics: the content of metrics.json.

    "groups": of each method the mean of every figure, and the intervals of "auprc"; "healthy" keeps its means, "cases" the AUPRC
    of each method and "subjects" its mean by group and person. Numbers have four digits.
    """
    groups = {name: _group(group) for name, group in entry.get("groups", {}).items()}
    small = {key: entry[key] for key in KEPT if key in entry} | {"groups": groups, "healthy": _healthy(entry.get("healthy"))}
    cases = [case for case in metrics["cases"] if "metrics" in case]
    small["cases"] = {case["case"]: _auprc(case) for case in cases}
    small["subjects"] = _subjects(cases)
    return {key: _rounded(value) if key != "settings" else value for key, value in small.items()}


def _group(group: Mapping) -> dict:
    methods = {
        method: {
            key: {"mean": value["mean"]} | ({name: value[name] for name in INTERVALS} if key == "auprc" else {})
            for key, value in figures.items()
        }
        for method, figures in group["methods"].items()
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
            person: {method: sum(one[method] for one in values) / len(values) for method in values[0]}
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

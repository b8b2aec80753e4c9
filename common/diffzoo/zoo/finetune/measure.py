"""A bundle before and after fine-tuning: its own evaluation of the test list, and the validation of the training."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_json
from diffzoo.tasks.task import Plan, Task
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.finetune.find import Scan
from diffzoo.zoo.tables import entry_of

TEST, VALIDATION = "test", "validation"
PARENT, TUNED = "parent", "fine_tuned"  # among the methods of an evaluation
Say = Callable[[str], None]


def plans_of(bundle: Bundle, scans: Sequence[Scan]) -> list[Plan]:
    """What of a bundle can be measured on the scans of a test list; nothing where their truth is not known."""
    if not scans:
        return []
    labelled = all(bundle.task.truth in scan.more for scan in scans)
    return bundle.task.plans(bundle.parameters(["inference", "evaluate"]), labelled)


def measured(
    bundle: Bundle, scans: Sequence[Scan], plans: Sequence[Plan], folder: Path, device: str, trust: bool, say: Say
) -> dict:
    """The metrics of each plan by its name; a plan that fails is left out, with a line. Kept in the folder for a resumed run."""
    from diffzoo.zoo.work import evaluate_cases

    metrics_of = {}
    for plan in plans:
        place, listing = folder / plan.name, folder / f"{plan.name}.json"
        if not (place / "done.json").is_file():
            write_json(listing, {"test": [dict(plan.more) | scan.entry for scan in scans]})
            words = list(plan.settings)
            try:
                metrics = evaluate_cases(
                    str(bundle.root), listing, "test", place, words, None, device, True, trust, say=lambda line: None
                )
            except InputError as error:
                say(f"not measured ({plan.what}): {error}")
                continue
            write_json(place / "done.json", {"weights": bundle.metadata["weights_sha256"], "metrics": _plain(metrics)})
        done = json.loads((place / "done.json").read_text(encoding="utf-8"))
        if done["weights"] != bundle.metadata["weights_sha256"]:
            raise InputError(f"{place} holds what was measured of other weights: delete {folder}")
        metrics_of[plan.name] = done["metrics"]
    return metrics_of


def _plain(metrics: object) -> object:
    """The same without NaN, which JSON does not have."""
    if isinstance(metrics, dict):
        return {key: _plain(value) for key, value in metrics.items()}
    if isinstance(metrics, list):
        return [_plain(value) for value in metrics]
    return None if isinstance(metrics, float) and metrics != metrics else metrics


def entries_of(task: Task, plans: Sequence[Plan], before: Mapping, after: Mapping, weights: str) -> dict[str, dict]:
    """What docs/results.json keeps of each plan measured before and after: the parent is one more method; people are numbered."""
    entries = {}
    for plan in (candidate for candidate in plans if candidate.name in before and candidate.name in after):
        described = {"what": plan.what, "settings": list(plan.settings)}
        entry = entry_of(described, after[plan.name], weights, task)
        entry |= {key: _numbered(entry[key], word) for key, word in (("cases", "case"), ("people", "person")) if key in entry}
        if "subjects" in entry:  # by group
            entry["subjects"] = {group: _numbered(people, "person") for group, people in entry["subjects"].items()}
        mine, theirs = _means(after[plan.name]), _means(before[plan.name])
        own = next(iter(mine))
        entry["mean"] = {own: mine.pop(own), PARENT: theirs[own], **mine}
        entry["change"] = changes(before[plan.name], after[plan.name], own)
        entries[plan.name] = entry
    return entries


def _numbered(values: Mapping, word: str) -> dict:
    """The same under numbers: names of files and of people stay with those who measured."""
    return {f"{word}_{k:02}": value for k, value in enumerate(values.values(), 1)}


def changes(before: Mapping, after: Mapping, own: str) -> dict[str, dict]:
    """How much each figure changed case by case, with the 95 % interval of the mean (by Student's t; none for one case)."""
    figures = [{case["case"]: case.get("metrics", {}).get(own, {}) for case in part["cases"]} for part in (before, after)]
    pairs = [(figures[0][name], metrics) for name, metrics in figures[1].items() if name in figures[0]]
    table = {}
    for key in dict.fromkeys(key for _, metrics in pairs for key in metrics):
        differences = [new[key] - old[key] for old, new in pairs if _is_number(new.get(key)) and _is_number(old.get(key))]
        if differences:
            half = _half_width(differences)
            table[key] = {
                "cases": len(differences),
                "mean": mean(differences),
                "low": half and mean(differences) - half,
                "high": half and mean(differences) + half,
            }
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value == value


def _half_width(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of a mean; None for one value."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    return float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


def within_noise(change: Mapping | None) -> str:
    """What is to be said of a change: "" where its interval leaves out 0."""
    if change is None:
        return ""
    if change["low"] is None:
        return "of one scan, so its noise is not known"
    return "within noise" if change["low"] <= 0 <= change["high"] else ""


def _means(metrics: Mapping) -> dict[str, dict[str, float]]:
    """Means by method, the bundle's own first; of healthy scans alone their false-positive rate."""
    known = {m: {k: v for k, v in figures.items() if v is not None} for m, figures in metrics["mean"].items()}
    if known or not metrics.get("healthy"):
        return known
    return {"network": {"false_positive_rate": metrics["healthy"]["fpr"]["mean"]}}


def validation_entry(outcome: Mapping, weights: str) -> dict:
    """The same for the validation of the training: the parent's is the line of the log before the first step."""
    from diffzoo.training.handlers import LOSSES

    beside = ("step", "seconds", *LOSSES)
    mine, theirs = ({k: float(v) for k, v in outcome[line].items() if k not in beside} for line in ("best", "first"))
    entry = {"what": "validation list, as the training validates", "settings": [], "weights_sha256": weights}
    return entry | {"mean": {TUNED: mine, PARENT: theirs}}

"""The outcome of an evaluation of segmentation: metrics.json and a picture of it."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes, write_json
from diffzoo.metrics.people import grouped, person_of, summary
from diffzoo.tasks.segment.report import SegmentationReport


class SegmentationTable:
    """After each case brings metrics.json and metrics.png in the report's folder up to date.

    "mean": of each method over subjects, of whom each is the mean of their cases; "intervals": of GED and CI over subjects,
    where there are five or more; "people": the values of each subject; "kinds": by the "group" of cases of known frequencies, how
    often each outline was drawn over all of them, the total-variation distance from how often it should be, and the
    spread of the draws. Raises InputError for a case without readers.
    """

    def __init__(self, report: SegmentationReport) -> None:
        self.report = report

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        case = self.report.cases[-1]
        if "metrics" not in case:
            del self.report.cases[-1]
            raise InputError(
                f"{case['case']}: no mask to compare with: give each image of the list its 'mask', or a list of them"
            )
        result = self.result()
        write_json(self.report.folder / "metrics.json", result)
        write_bytes(self.report.folder / "metrics.png", _picture(result))

    def result(self) -> dict:
        """The content of metrics.json."""
        cases = self.report.cases
        people = {name: _means([c["metrics"] for c in group]) for name, group in grouped(cases, person_of).items()}
        return {
            "people": people,
            "mean": _means(list(people.values())),
            "intervals": _intervals(cases),
            "kinds": _kinds([case for case in cases if "frequency" in case]),
            "network_calls": float(np.mean([case["network_calls"] for case in cases])),
            "seconds": float(np.sum([case["seconds"] for case in cases])),
            "parameters": self.report.parameters,
            "cases": cases,
        }


def _means(figures: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean of each figure of each method that all have."""
    methods = [m for m in (figures[0] if figures else ()) if all(m in figure for figure in figures)]
    return {m: {n: float(np.mean([figure[m][n] for figure in figures])) for n in figures[0][m]} for m in methods}


def _intervals(cases: Sequence[Mapping]) -> dict[str, dict]:
    """95 % intervals of GED and CI of each method over subjects; empty for few."""
    people, found = [person_of(case) for case in cases], {}
    for method in cases[0]["metrics"]:
        if all(method in case["metrics"] for case in cases):
            bounds = {n: summary([c["metrics"][method][n] for c in cases], people)["interval"] for n in ("ged", "ci")}
            found |= {method: bounds} if all(bounds.values()) else {}
    return found


def _kinds(cases: Sequence[Mapping]) -> dict[str, dict]:
    """Frequencies of all draws of a kind of case, and their spread."""
    kinds = {}
    for kind, group in grouped(cases, lambda case: str(case.get("group", "all"))).items():
        met, expected = (np.mean([case["frequency"][key] for case in group], 0) for key in ("met", "expected"))
        kinds[kind] = {
            "cases": len(group),
            "met": met.tolist(),
            "expected": expected.tolist(),
            "distance": float(np.abs(met - expected).sum() / 2),
            "distance_of_each": float(np.mean([case["frequency"]["distance"] for case in group])),
            "spread": float(np.mean([case["spread"] for case in group])),
        }
    return kinds


def _picture(result: Mapping) -> bytes:
    """A PNG: GED of each method, a point a subject."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(result["mean"])
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(methods)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for k, method in enumerate(methods):
        values = [person[method]["ged"] for person in result["people"].values() if method in person]
        axes.plot(values, np.full(len(values), k), "o", color=f"C{k}", alpha=0.5)
        axes.plot(result["mean"][method]["ged"], k, "|", color="black", markersize=16)
    axes.set_yticks(range(len(methods)), [m.replace("_", " ") for m in methods], fontsize=8)
    axes.set(xlabel="squared generalised energy distance from the readers (lower is better)", ylim=(len(methods) - 0.5, -0.5))
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

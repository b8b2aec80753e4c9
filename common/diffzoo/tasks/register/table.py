"""The outcome of an evaluation of registration: metrics.json and a picture of it."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes, write_json
from diffzoo.metrics.people import summary
from diffzoo.tasks.register.report import OWN, RegistrationReport

SLACK = 1e-4  # of NCC: a path that falls by less does not fall


class RegistrationTable:
    """After each pair brings metrics.json and metrics.png in the report's folder up to date.

    "mean": of each method over pairs; "methods": of each figure also the 95 % interval over people, who are left out of all their
    pairs in turn, how many they are, the least and the greatest value; "path_rises": the share of pairs whose NCC does not fall
    along the path; "above": the share of pairs whose Dice is above that of each method. Raises InputError for a pair without two
    labels.
    """

    def __init__(self, report: RegistrationReport) -> None:
        self.report = report

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._case)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _case(self, engine: Engine) -> None:
        case = self.report.cases[-1]
        dice = case.get("metrics", {}).get(OWN, {}).get("dice")
        if dice is None or np.isnan(dice):
            del self.report.cases[-1]
            raise InputError(f'{case["case"]}: no labels to compare: give "label" (and "moving_label") in the datalist')

    def _write(self, engine: Engine) -> None:
        result = self.result()
        write_json(self.report.folder / "metrics.json", result)
        write_bytes(self.report.folder / "metrics.png", _picture(self._values("dice")))

    def _values(self, name: str) -> dict[str, np.ndarray]:
        """A figure of all pairs by method, of those that were there."""
        methods = [m for m in self.report.methods if all(m in case["metrics"] for case in self.report.cases)]
        return {m: np.array([case["metrics"][m][name] for case in self.report.cases]) for m in methods}

    def result(self) -> dict:
        """The content of metrics.json."""
        cases, names = self.report.cases, list(self.report.cases[0]["metrics"][OWN])
        values = {name: self._values(name) for name in names}
        people = [_people(case) for case in cases]
        spreads = {m: {name: _spread(values[name][m], people) for name in names} for m in values["dice"]}
        paths = [np.diff(case["path_ncc"]) for case in cases if "path_ncc" in case]
        errors = [case["inverse_error"] for case in cases if "inverse_error" in case]
        return {
            "pairs": len(cases),
            "mean": {m: {name: figures["mean"] for name, figures in each.items()} for m, each in spreads.items()},
            "methods": spreads,
            "above": {m: float((values["dice"][OWN] > v).mean()) for m, v in values["dice"].items() if m != OWN},
            "path_rises": float(np.mean([(steps >= -SLACK).all() for steps in paths])) if paths else None,
            "inverse_error_voxels": float(np.mean(errors)) if errors else None,
            "alignment_seconds": float(np.mean([case["acquisition"]["alignment_seconds"] for case in cases])),
            "network_calls": float(np.mean([case["network_calls"] for case in cases])),
            "seconds": float(np.sum([case["seconds"] for case in cases])),
            "parameters": self.report.parameters,
            "cases": cases,
        }


def _people(case: Mapping) -> str | tuple[str, str]:
    """The person of a pair, or the two of it."""
    fixed = str(case.get("subject", case["case"]))
    moving = str(case.get("moving_subject", fixed))
    return fixed if moving == fixed else (moving, fixed)


def _spread(values: np.ndarray, people: Sequence) -> dict:
    kept = values[np.isfinite(values)]
    least, greatest = (float(kept.min()), float(kept.max())) if len(kept) else (None, None)
    return {**summary(values, people), "least": least, "greatest": greatest}


def _picture(dice: dict[str, np.ndarray]) -> bytes:
    """A PNG: the Dice of all pairs by method, as boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.boxplot(list(dice.values()), showmeans=True, tick_labels=[method.replace("_", " ") for method in dice])
    axes.set(ylabel="Dice", ylim=(0, 1), title=f"{len(next(iter(dice.values())))} pairs")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

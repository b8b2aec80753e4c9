"""The outcome of an evaluation of translation: metrics.json and a picture of it."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes, write_json
from diffzoo.metrics.people import grouped, person_of
from diffzoo.tasks.translate.report import TranslationReport


class TranslationTable:
    """After each case brings metrics.json and metrics.png in the report's folder up to date.

    "mean": of each method over people, of whom each is the mean of their cases; "people": the values of each; "given": means by
    the set of images that was given; "roles": means by what was made; "spread": means of what a std was worth. Raises InputError
    for a case of which no target is known.
    """

    def __init__(self, report: TranslationReport) -> None:
        self.report = report

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        case = self.report.cases[-1]
        if "metrics" not in case:
            del self.report.cases[-1]
            raise InputError(
                f"{case['case']}: nothing to compare with: name the true image of {' or '.join(self.report.targets)}"
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
            "given": {
                name: _means([c["metrics"] for c in group]) for name, group in grouped(cases, lambda c: c["given"]).items()
            },
            "roles": {role: _means([c["roles"][role] for c in cases if role in c["roles"]]) for role in self._roles()},
            "spread": _means([{"": c["spread"]} for c in cases if "spread" in c]).get(""),
            "network_calls": float(np.mean([case["network_calls"] for case in cases])),
            "seconds": float(np.sum([case["seconds"] for case in cases])),
            "parameters": self.report.parameters,
            "cases": cases,
        }

    def _roles(self) -> list[str]:
        return [role for role in self.report.targets if any(role in case["roles"] for case in self.report.cases)]


def _means(figures: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean of each figure, where there is one, of each method that all have."""
    methods = [m for m in (figures[0] if figures else ()) if all(m in figure for figure in figures)]
    names = {m: dict.fromkeys(name for figure in figures for name in figure[m]) for m in methods}
    return {m: {n: float(np.mean([figure[m][n] for figure in figures if n in figure[m]])) for n in names[m]} for m in methods}


def _picture(result: Mapping) -> bytes:
    """A PNG: PSNR of each method by the set of images that was given."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets, methods = list(result["given"]), list(result["mean"])
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(sets)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for k, method in enumerate(methods):
        values = [result["given"][name].get(method, {}).get("psnr", np.nan) for name in sets]
        axes.plot(values, np.arange(len(sets)), "o", color=f"C{k}", label=method)
    axes.set_yticks(range(len(sets)), [name.replace("+", ", ") for name in sets], fontsize=8)
    axes.set(xlabel="PSNR (dB)", ylim=(len(sets) - 0.5, -0.5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, ncols=len(methods), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

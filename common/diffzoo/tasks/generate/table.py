"""The outcome of an evaluation of a generator: metrics.json."""

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.imaging.io.files import write_json
from diffzoo.tasks.generate.report import GenerationReport


class GenerationTable:
    """After all cases writes metrics.json in the report's folder: the mean of each figure over the cases that have it."""

    def __init__(self, report: GenerationReport) -> None:
        self.report = report

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        write_json(self.report.folder / "metrics.json", self.result())

    def result(self) -> dict:
        """The content of metrics.json."""
        cases = self.report.cases
        return {
            "mean": {method: figures for method in self.report.methods if (figures := self._means(method))},
            "network_calls": float(np.mean([case["network_calls"] for case in cases])),
            "seconds": float(np.sum([case["seconds"] for case in cases])),
            "parameters": self.report.parameters,
            "cases": cases,
        }

    def _means(self, method: str) -> dict[str, float]:
        figures = [case["metrics"][method] for case in self.report.cases if method in case.get("metrics", {})]
        names = {name: None for figure in figures for name in figure}
        return {name: float(np.mean([figure[name] for figure in figures if name in figure])) for name in names}

"""The outcome of an evaluation of anomaly detection: metrics.json and a picture of it."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes, write_json
from diffzoo.metrics.people import summary
from diffzoo.tasks.anomaly.report import AnomalyReport


class DetectionTable:
    """After each case brings metrics.json and metrics.png in the report's folder up to date.

    "mean": the mean over subjects of each method's metrics, all lesion cases; "groups": the same by group of cases, with 95 %
    intervals over people, of five or more; "healthy": the false-positive rate of the cases without a lesion likewise, and the
    mean threshold that would reach each of some rates. Raises InputError for a case whose mask is not known.
    """

    def __init__(self, report: AnomalyReport) -> None:
        self.report = report

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        case = self.report.cases[-1]
        if "fpr" not in case:
            del self.report.cases[-1]
            raise InputError(
                f'{case["case"]}: no mask to compare with: give "mask" in the datalist, or "normal": true for a healthy scan'
            )
        result = self.result()
        write_json(self.report.folder / "metrics.json", result)
        write_bytes(self.report.folder / "metrics.png", _picture(result, self.report.methods))

    def result(self) -> dict:
        """The content of metrics.json."""
        cases = self.report.cases
        with_lesion = [case for case in cases if "metrics" in case]
        names = dict.fromkeys(_group_of(case) for case in with_lesion)
        groups = {name: self._group([case for case in with_lesion if _group_of(case) == name]) for name in names}
        if len(groups) > 1:
            groups["all"] = self._group(with_lesion)
        overall = next(reversed(groups.values()), None)
        return {
            "mean": {m: {k: v["mean"] for k, v in values.items()} for m, values in overall["methods"].items()} if overall else {},
            "groups": groups,
            "healthy": _healthy([case for case in cases if "metrics" not in case]),
            "threshold": self.report.threshold,
            "network_calls": float(np.mean([case["network_calls"] for case in cases])),
            "seconds": float(np.sum([case["seconds"] for case in cases])),
            "parameters": self.report.parameters,
            "cases": cases,
        }

    def _group(self, cases: Sequence[dict]) -> dict:
        methods = [m for m in self.report.methods if all(m in case["metrics"] for case in cases)]
        keys = {m: dict.fromkeys(key for case in cases for key in case["metrics"][m]) for m in methods}
        figures = {m: {key: _interval((case, case["metrics"][m].get(key)) for case in cases) for key in keys[m]} for m in methods}
        facts = {key: float(np.mean([case[key] for case in cases])) for key in ("prevalence", "fpr")}
        return {**_counts(cases), **facts, "methods": figures}


def _subject(case: dict) -> str:
    return str(case.get("subject", case["case"]))


def _group_of(case: dict) -> str:
    return str(case.get("group", "lesions"))


def _counts(cases: Sequence[dict]) -> dict[str, int]:
    return {"subjects": len({_subject(case) for case in cases}), "cases": len(cases)}


def _interval(values: Iterable[tuple[dict, float | None]]) -> dict[str, float | list | None]:
    """Mean over people of a figure of some cases, and its interval where there are enough of them."""
    pairs = list(values)
    figures = summary([value for _, value in pairs], [_subject(case) for case, _ in pairs])
    return {"mean": figures["mean"], "by_subject": figures["interval"]}


def _healthy(cases: Sequence[dict]) -> dict | None:
    if not cases:
        return None
    rates = cases[0]["by_threshold"]
    return {
        **_counts(cases),
        "fpr": _interval((case, case["fpr"]) for case in cases),
        "threshold_at_fpr": {rate: float(np.mean([case["by_threshold"][rate] for case in cases])) for rate in rates},
    }


def _picture(result: dict, methods: Sequence[str]) -> bytes:
    """A PNG: AUPRC of each method by group, with its interval over people where there is one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(7, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names, width = list(result["groups"]), 0.8 / max(1, len(methods))
    for k, method in enumerate(methods):
        for i, name in enumerate(names):
            value = result["groups"][name]["methods"].get(method, {}).get("auprc")
            if value is None or value["mean"] is None:
                continue
            place = i + (k - (len(methods) - 1) / 2) * width
            axes.bar(place, value["mean"], width * 0.9, color=f"C{k}")
            if value["by_subject"]:
                axes.vlines(place, *value["by_subject"], color="black", linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="AUPRC", ylim=(0, 1))
    if names:
        shades = {m.replace("_", " "): Patch(color=f"C{k}") for k, m in enumerate(methods)}
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": len(methods)}
        axes.legend(shades.values(), shades.keys(), fontsize=8, frameon=False, **above)
    else:
        axes.text(0.5, 0.5, "no case with a lesion", ha="center", transform=axes.transAxes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

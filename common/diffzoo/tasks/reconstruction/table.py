"""The outcome of an evaluation: metrics.json and a picture of it."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_bytes, write_json
from diffzoo.metrics.people import grouped, person_of, summary
from diffzoo.tasks.reconstruction.report import Report

NAMES = ("psnr", "ssim", "nmse", "rmse")


class MetricsTable:
    """After each case brings metrics.json and metrics.png in the report's folder up to date.

    "people": the mean of each metric over the slices of a person (a case without "subject" is one of its own); "mean": over
    people; "gain_db": the bundle's PSNR less each baseline's, the mean over people, its interval where there are enough of them,
    and the value of each; "ssim_above": the share of slices whose SSIM is above each baseline's. Raises InputError for a case
    without a reference (k-space that was measured undersampled) or without signal.
    """

    def __init__(self, report: Report) -> None:
        self.report = report

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        case = self.report.cases[-1]
        if "by_slice" not in case:
            del self.report.cases[-1]
            raise InputError(f"{case['case']}: nothing to compare with: evaluation needs fully sampled data")
        if not case["by_slice"][self.report.methods[0]]["psnr"]:
            del self.report.cases[-1]
            raise InputError(f"{case['case']}: no slice with signal among those chosen: choose others with --set slices")
        result = self.result()
        write_json(self.report.folder / "metrics.json", result)
        write_bytes(self.report.folder / "metrics.png", _table(result))

    def result(self) -> dict:
        """The content of metrics.json."""
        cases, own = self.report.cases, self.report.methods[0]
        methods = [m for m in self.report.methods if all(m in case["by_slice"] for case in cases)]
        people = {name: _person(group, methods) for name, group in grouped(cases, person_of).items()}
        others = [m for m in methods if m != own]
        return {
            "slices": sum(len(case["by_slice"][own]["psnr"]) for case in cases),
            "people": people,
            "mean": {m: {name: float(np.mean([p[m][name] for p in people.values()])) for name in NAMES} for m in methods},
            "gain_db": {m: _gain(people, own, m) for m in others},
            "ssim_above": {m: _above(cases, own, m) for m in others},
            "acquisition": _means([case["acquisition"] for case in cases]),
            "network_calls": float(np.mean([case["network_calls"] for case in cases])),
            "seconds": float(np.sum([case["seconds"] for case in cases])),
            "largest_data_residual": float(max(case["data_residual"] for case in cases)),
            "figures": _means([case["figures"] for case in cases]),
            "spread": _means([case["spread"] for case in cases if "spread" in case]) or None,
            "parameters": self.report.parameters,
            "cases": cases,
        }


def merged(results: Sequence[Mapping]) -> dict:
    """One result from those of several seeds (of masks, photons, noise): a person's values are means over the seeds.

    "seeds" has the bundle's PSNR of each.
    """
    own = next(iter(results[0]["mean"]))
    values = averaged([{k: v for k, v in result.items() if k not in ("cases", "parameters")} for result in results])
    people = values["people"]
    values["gain_db"] = {m: _gain(people, own, m) for m in values["gain_db"]}
    values["seconds"] = float(np.sum([result["seconds"] for result in results]))
    values["largest_data_residual"] = float(max(result["largest_data_residual"] for result in results))
    seeds = [result["mean"][own]["psnr"] for result in results]
    return {**results[0], **values, "seeds": seeds, "cases": [case for result in results for case in result["cases"]]}


def averaged(values: Sequence):
    """The mean of numbers within mappings of the same keys; of anything else the first."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: averaged([value[key] for value in values]) for key in first}
    if isinstance(first, float):
        return float(np.mean(values))
    return first


def _person(cases: Sequence[Mapping], methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """Means of each metric by method over all slices of a person."""
    pooled = {m: {name: np.concatenate([case["by_slice"][m][name] for case in cases]) for name in NAMES} for m in methods}
    return {m: {name: float(v.mean()) for name, v in values.items()} for m, values in pooled.items()}


def _gain(people: Mapping[str, Mapping], own: str, other: str) -> dict:
    each = [person[own]["psnr"] - person[other]["psnr"] for person in people.values()]
    figures = summary(each, list(people))
    return {"mean": figures["mean"], "interval": figures["interval"], "each": each}


def _above(cases: Sequence[Mapping], own: str, other: str) -> float:
    pairs = [(a, b) for c in cases for a, b in zip(c["by_slice"][own]["ssim"], c["by_slice"][other]["ssim"], strict=True)]
    return float(np.mean([a > b for a, b in pairs]))


def _means(facts: list[dict]) -> dict:
    """The mean over cases of each figure; words are left out."""
    keys = [key for key, value in (facts[0].items() if facts else ()) if isinstance(value, int | float)]
    return {key: float(np.mean([f[key] for f in facts])) for key in keys}


def _table(result: dict) -> bytes:
    """A PNG: one row a case and method, the mean last."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [[c["case"], m, *_shown(v)] for c in result["cases"] for m, v in c["metrics"].items()]
    rows += [["mean over people", m, *_shown(v)] for m, v in result["mean"].items()]
    figure = Figure(figsize=(8, 0.5 + 0.2 * (len(rows) + 1)), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96 - 0.4 / figure.get_figheight()))
    axes.axis("off")
    table = axes.table(rows, colLabels=["case", "method", "PSNR (dB)", "SSIM", "RMSE"], bbox=(0, 0, 1, 1), cellLoc="right")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    bold = {i + 1 for i, row in enumerate(rows) if row[1] == next(iter(result["mean"]))}
    for (i, j), cell in table.get_celld().items():
        cell.set_linewidth(0.3)
        cell.set_text_props(weight="bold" if i == 0 or i in bold else "normal", ha="left" if j < 2 else "right")
    words = result["cases"][0]["acquisition"]["words"]
    title = f"{result['slices']} slices, {words}, {result['network_calls']:g} network calls a slice"
    figure.text(0.02, 1 - 0.1 / figure.get_figheight(), title, fontsize=9, va="top")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _shown(values: dict) -> list[str]:
    return [f"{values['psnr']:.2f}", f"{values['ssim']:.4f}", f"{values['rmse']:.4g}"] if "psnr" in values else ["-"] * 3

"""What of an evaluation is kept in docs/results.json, and how a model card shows it."""

import json
import math
from collections.abc import Mapping

from diffzoo.tasks.task import Task

ELSEWHERE = ("cases", "parameters")  # of metrics.json: told case by case, and by the settings


def entry_of(plan: Mapping, metrics: Mapping, weights_sha256: str, task: Task) -> dict:
    """An evaluation as docs/results.json keeps it, from the content of metrics.json."""
    summary = {key: value for key, value in metrics.items() if key not in ELSEWHERE}
    kept = task.kept(summary, metrics["cases"])
    if plan.get("means"):  # of the many that a choice was made by
        kept = {key: value for key, value in kept.items() if key not in ("cases", "subjects")} | {"cases": {}}
    return {"what": plan["what"], "settings": plan["settings"], "weights_sha256": weights_sha256, **kept}


def results_text(entries: Mapping) -> str:
    """The content of docs/results.json."""
    return compact_json({"evaluations": entries})


def compact_json(value: Mapping) -> str:
    """JSON with six digits of a number, four below "cases"; what holds nothing but values stands in one line."""
    return _text(value, 0, 6) + "\n"


def _text(value: object, depth: int, digits: int) -> str:
    if isinstance(value, float):
        return json.dumps(float(f"{value:.{digits}g}")) if math.isfinite(value) else "null"
    if isinstance(value, Mapping):
        parts = [f"{json.dumps(k)}: {_text(v, depth + 1, 4 if k == 'cases' else digits)}" for k, v in value.items()]
        if not any(isinstance(inner, Mapping) for inner in value.values()):
            return f"{{{', '.join(parts)}}}"
        pad = "\n" + " " * (depth + 1)
        return f"{{{','.join(pad + part for part in parts)}\n{' ' * depth}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(inner, depth, digits) for inner in value)}]"
    return json.dumps(value, ensure_ascii=False)


def results_of(entries: Mapping, recipe: Mapping, task: Task) -> str:
    """The tables of a bundle's evaluations as Markdown."""
    return "\n\n".join(map(markdown, task.tables(entries, recipe)))


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table, the second row being its rule."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

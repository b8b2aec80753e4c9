"""What of an evaluation is kept in docs/results.json, and how a model card shows it."""

from collections.abc import Mapping

from diffzoo.tasks.task import Task

ELSEWHERE = ("cases", "parameters")  # of metrics.json: told case by case, and by the settings


def entry_of(plan: Mapping, metrics: Mapping, weights_sha256: str) -> dict:
    """An evaluation as docs/results.json keeps it, from the content of metrics.json; of each case its metrics."""
    summary = {key: value for key, value in metrics.items() if key not in ELSEWHERE}
    cases = {case["case"]: case["metrics"] for case in metrics["cases"] if "metrics" in case}
    return {"what": plan["what"], "settings": plan["settings"], "weights_sha256": weights_sha256, **summary, "cases": cases}


def results_of(entries: Mapping, recipe: Mapping, task: Task) -> str:
    """The tables of a bundle's evaluations as Markdown."""
    return "\n\n".join(map(markdown, task.tables(entries, recipe)))


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table, the second row being its rule."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

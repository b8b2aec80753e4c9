"""report.csv: a line for each case of a run, whatever became of it, for a spreadsheet."""

import csv
import io
from collections.abc import Mapping, Sequence

FIRST = ("case", "input", "status", "seconds", "network_calls")
LAST = ("warnings", "error")


def table(cases: Sequence[Mapping], failed: Sequence[Mapping], unstarted: Sequence[str]) -> str:
    """The text of report.csv: finished cases with their figures, then those that failed, then those that never began.

    Figures are the numbers of a record, and those of each method as <method>_<metric>; a cell without a value is empty.
    """
    rows = [{**_row(case), "status": "done"} for case in cases]
    rows += [{**case, "status": "failed"} for case in failed]
    rows += [{"case": name, "status": "not started"} for name in unstarted]
    figures = dict.fromkeys(key for row in rows for key in row if key not in (*FIRST, *LAST))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*FIRST, *figures, *LAST], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(case: Mapping) -> dict:
    figures = {key: value for key, value in case.items() if key in FIRST or _is_figure(key, value)}
    for method, metrics in case.get("metrics", {}).items():
        figures |= {f"{method}_{name}": value for name, value in metrics.items() if _is_figure(name, value)}
    return figures | {"warnings": "; ".join(case.get("warnings", ()))}


def _is_figure(key: str, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith("by_")

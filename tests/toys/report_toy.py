"""A report at work: an engine that hands it cases."""

import json

from ignite.engine import Engine


def run(report, *cases, table=None) -> dict:
    """report.json after an engine has given these cases, pairs of what came and what was made, one by one."""

    def step(engine, batch):
        engine.state.batch = [batch[0]]
        return [batch[1]]

    engine = Engine(step)
    engine.state.device = "cpu"
    report.attach(engine)
    if table is not None:
        table.attach(engine)
    engine.run(list(cases))
    return json.loads((report.folder / "report.json").read_text())

"""Running an engine from a config."""

from ignite.engine import Engine


def launch(engine: Engine) -> Engine:
    """Runs an engine and returns it; a function, so that a config needs no `$` call for it."""
    engine.run()
    return engine

"""Pictures of a training run as it goes: a plot of its log, and TensorBoard where it is installed."""

import io
import json
from pathlib import Path

from ignite.engine import Engine, Events

from diffzoo.atomic import atomic
from diffzoo.training.distributed import leads
from diffzoo.training.handlers import LOSSES

BESIDE = ("step", "seconds", *LOSSES)  # of a line of the log; all else is a metric of the validation


class LossPlot:
    """Draws the log `source` of `LossLog`, losses above and validation metrics below, as the PNG `path` after each epoch.

    Stands after `LossLog` in the list of handlers. Written beside and renamed.
    """

    def __init__(self, source: str, path: str) -> None:
        self.source, self.path = Path(source), Path(path)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._draw)
        engine.add_event_handler(Events.COMPLETED, self._draw)

    def _draw(self) -> None:
        if not leads():
            return
        picture = plot([json.loads(line) for line in self.source.read_text(encoding="utf-8").splitlines()])
        with atomic(self.path, own=False) as beside:
            beside.write_bytes(picture)


def plot(lines: list[dict]) -> bytes:
    """A PNG of log lines: losses over steps, and below them each validation metric that any line has, on an axis of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = [key for key in LOSSES if any(key in line for line in lines)]
    metrics = list(dict.fromkeys(key for line in lines for key in line if key not in BESIDE))
    panels = [losses, *([name] for name in metrics)]
    figure = Figure(figsize=(6, 0.6 + 2.0 * len(panels)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, names in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in lines if name in line]
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else None, label=name)
        axes.set_ylabel(", ".join(names).replace("_", " "))
        axes.grid(alpha=0.3)
    if len(losses) > 1:
        figure.axes[0].legend()
    figure.axes[-1].set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


class TensorBoard:
    """Writes the loss of each step, and the metrics of each validation of the evaluator, for TensorBoard into `log_dir`.

    Where TensorBoard is not installed it says so once, and does nothing.
    """

    def __init__(self, log_dir: str, evaluator: Engine | None = None) -> None:
        self.log_dir, self.evaluator = log_dir, evaluator

    def attach(self, engine: Engine) -> None:
        if not leads():
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            engine.logger.warning("TensorBoard is not installed, nothing is written for it: pip install tensorboard")
            return
        self.writer = SummaryWriter(self.log_dir)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self.writer.close)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.COMPLETED, self._validation, engine)

    def _step(self, engine: Engine) -> None:
        for name in LOSSES:
            if name in engine.state.output:
                self.writer.add_scalar(name, engine.state.output[name], engine.state.iteration)

    def _validation(self, trainer: Engine) -> None:
        for name, value in self.evaluator.state.metrics.items():
            self.writer.add_scalar(name, value, trainer.state.iteration)

"""The Python interface: `diffzoo.load(name)` gives a Model."""

from collections.abc import Sequence
from pathlib import Path

from diffzoo.zoo.bundle import find
from diffzoo.zoo.work import evaluate_cases, run_cases


class Model:
    """A bundle by name or path; parameters are keywords, as `--set` takes them. Raises InputError as the command does."""

    def __init__(self, name: str) -> None:
        self.bundle = find(name)
        self._session = None

    def run(
        self,
        inputs: str | Path | Sequence[str | Path] | None,
        output: str | Path,
        *,
        config: str | None = None,
        device: str = "auto",
        overwrite: bool = False,
        trust: bool = False,
        **parameters,
    ) -> list[dict]:
        """Runs on files as `diffzoo run` does, or on None to draw from nothing, and returns the record of each case."""
        inputs = [] if inputs is None else inputs
        paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
        return run_cases(str(self.bundle.root), paths, output, _words(parameters), config, device, overwrite, trust)

    def evaluate(
        self,
        data: str | Path,
        output: str | Path,
        *,
        part: str = "test",
        config: str | None = None,
        device: str = "auto",
        overwrite: bool = False,
        trust: bool = False,
        **parameters,
    ) -> dict:
        """Evaluates as `diffzoo evaluate` does and returns the content of metrics.json."""
        return evaluate_cases(str(self.bundle.root), data, part, output, _words(parameters), config, device, overwrite, trust)

    def predict(
        self, image, moving=None, *, config: str | None = None, device: str = "auto", trust: bool = False, **parameters
    ) -> dict:
        """Outputs by name for an array or tensor [H, W] or [H, W, D] (1 mm voxels), as tensors of its shape.

        A registration takes the fixed image and the moving one. The network is kept between calls with the same settings.
        """
        key = (config, device, tuple(sorted(parameters.items())))
        if self._session is None or self._session[0] != key:
            from diffzoo.zoo.session import Session

            configs = ["inference", *([config] if config else [])]
            self._session = (key, Session(self.bundle, configs, parameters, device, trust=trust))
        return self._session[1].predict(image, **({} if moving is None else {"moving": moving}))


def _words(parameters: dict) -> list[str]:
    return [f"{key}={'null' if value is None else value}" for key, value in parameters.items()]

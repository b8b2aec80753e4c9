"""The Python interface: `diffzoo.load(name)` gives a Model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffzoo.errors import InputError
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
        self,
        image=None,
        moving=None,
        *,
        fixed=None,
        config: str | None = None,
        device: str = "auto",
        trust: bool = False,
        **parameters,
    ) -> dict:
        """Outputs by name for an array or tensor [H, W] or [H, W, D] (1 mm voxels), of its shape; arrays for an array.

        A registration takes the fixed image and the moving one, in this order or by name. The network is kept between calls with
        the same settings. InputError for a path, which `run` takes, and for an image given twice or not at all.
        """
        image = _one_of(image, fixed)
        for path in (x for x in (image, moving) if isinstance(x, str | Path)):
            raise InputError(f"predict takes arrays or tensors, not the path {path}: give it to run")
        key = (config, device, tuple(sorted(parameters.items())))
        if self._session is None or self._session[0] != key:
            from diffzoo.zoo.session import Session

            configs = ["inference", *([config] if config else [])]
            self._session = (key, Session(self.bundle, configs, parameters, device, trust=trust))
        outputs = self._session[1].predict(image, **({} if moving is None else {"moving": moving}))
        return {key: x.numpy() for key, x in outputs.items()} if isinstance(image, np.ndarray) else outputs


def _one_of(image, fixed):
    if (image is None) == (fixed is None):
        raise InputError("predict takes one image; for a registration, fixed=ARRAY and moving=ARRAY")
    return fixed if image is None else image


def _words(parameters: dict) -> list[str]:
    return [f"{key}={'null' if value is None else value}" for key, value in parameters.items()]

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
        *,
        moving=None,
        fixed=None,
        spacing: float | Sequence[float] | None = None,
        affine=None,
        config: str | None = None,
        device: str = "auto",
        trust: bool = False,
        **parameters,
    ) -> dict:
        """Outputs by name for an array or tensor [H, W] or [H, W, D], of its shape, and of the type that came.

        A registration takes `moving` and `fixed` by name. spacing: mm of the voxels, one number or one an axis, the axes growing
        to R, A and S; or affine [4, 4] (RAS+ world, mm), for every image of the call. A MetaTensor of MONAI brings its own, and
        gets outputs with theirs. The network is kept between calls with the same settings. Raises InputError for a path, which
        `run` takes, for an image given twice or not at all, and where neither spacing nor affine is known.
        """
        images = _named(image, moving, fixed)
        placed = {name: _placed(name, value, spacing, affine) for name, value in images.items()}
        key = (config, device, tuple(sorted(parameters.items())))
        if self._session is None or self._session[0] != key:
            from diffzoo.zoo.session import Session

            configs = ["inference", *([config] if config else [])]
            self._session = (key, Session(self.bundle, configs, parameters, device, trust=trust))
        outputs = self._session[1].predict(**placed)
        return {name: _as_came(volume, images["image"]) for name, volume in outputs.items()}


def _named(image, moving, fixed) -> dict:
    """The images of a call by key of a case, none of which is a path; InputError for one too many or too few."""
    if (moving is None) != (fixed is None) or (image is None) == (fixed is None):
        raise InputError("predict takes one image; for a registration, moving=ARRAY and fixed=ARRAY")
    images = {"image": image if fixed is None else fixed} | ({} if moving is None else {"moving": moving})
    for value in images.values():
        if isinstance(value, str | Path):
            raise InputError(f"predict takes arrays or tensors, not the path {value}: give it to run")
        if not hasattr(value, "shape"):
            raise InputError(f"predict takes arrays or tensors, not {type(value).__name__}: use numpy.asarray")
        if len(value.shape) not in (2, 3):
            raise InputError(f"predict takes a slice [H, W] or a volume [H, W, D], not of shape {list(value.shape)}")
    return images


def _placed(name: str, value, spacing: float | Sequence[float] | None, affine):
    """An image with its affine; InputError where neither spacing nor affine is known, or both are given."""
    import torch
    from monai.data import MetaTensor

    if isinstance(value, MetaTensor) and spacing is None and affine is None:
        return value
    if (spacing is None) == (affine is None):
        remedy = "give spacing=MM or affine=MATRIX" if spacing is None else "give spacing or affine, not both"
        raise InputError(f"{name}: how large its voxels are and how they lie is not known: {remedy}")
    matrix = _matrix(len(value.shape), spacing) if affine is None else np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InputError(f"{name}: affine is no finite, invertible matrix [4, 4]")
    plain = value.as_tensor() if isinstance(value, MetaTensor) else value
    return MetaTensor(torch.as_tensor(np.asarray(plain.cpu() if hasattr(plain, "cpu") else plain)), affine=matrix)


def _matrix(axes: int, spacing: float | Sequence[float]) -> np.ndarray:
    """The affine [4, 4] of voxels of that size in mm; InputError for sizes that are none."""
    sizes = np.broadcast_to(np.asarray(spacing, dtype=np.float64), axes) if np.ndim(spacing) == 0 else np.asarray(spacing, float)
    if sizes.ndim != 1 or len(sizes) not in (axes, 3) or len(sizes) > 3 or not (sizes > 0).all() or not np.isfinite(sizes).all():
        raise InputError(f"spacing={spacing!r} is no size in mm, one number or one of each of {axes} axes")
    return np.diag([*sizes, *[1.0] * (4 - len(sizes))])


def _as_came(volume, given):
    """An output as an array for an array, else as a tensor on the device of the image; with its affine for a MetaTensor."""
    from monai.data import MetaTensor

    if isinstance(given, MetaTensor):
        return volume.to(given.device)
    plain = volume.as_tensor() if isinstance(volume, MetaTensor) else volume
    return plain.to(given.device) if hasattr(given, "device") and hasattr(given, "cpu") else plain.numpy()


def _words(parameters: dict) -> list[str]:
    return [f"{key}={'null' if value is None else value}" for key, value in parameters.items()]

"""Fields that other methods find for the same pair, to be judged beside the network's own."""

import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor, nn

from diffzoo.imaging.geometry import plain
from diffzoo.imaging.registration import alignment_field
from diffzoo.tasks.register.inferer import Register
from diffzoo.tasks.register.pairs import field_on_fixed

Classical = Callable[[MetaTensor, MetaTensor, np.ndarray], Tensor]  # (fixed, moving, start) -> field of the fixed image


class AddField(Transform):
    """Adds "field_<key>" [3, X, Y, Z] of another network or setting, and "seconds_<key>", from the item of `LoadPair`."""

    def __init__(self, inferer: Register, network: nn.Module, key: str) -> None:
        self.inferer, self.network, self.key = inferer, network, key

    def __call__(self, data: Mapping) -> dict:
        fixed, moving = (plain(data[name]).cpu()[None] for name in ("image", "moving"))
        pred = self.inferer(fixed, self.network.cpu(), moving=moving)[0]
        field = field_on_fixed(data, pred[: fixed.ndim - 2])
        return dict(data) | {f"field_{self.key}": field[0], f"seconds_{self.key}": self.inferer.stats["seconds"]}


class AddClassicalField(Transform):
    """Adds "field_<key>" of a classical method on the stored scans, after the alignment of the pair, and "seconds_<key>".

    needs: a package of the method; where it is not installed, nothing is added, and the method is not judged.
    """

    def __init__(self, method: Classical, key: str, needs: str | None = None) -> None:
        self.method, self.key = method, key
        self.there = needs is None or find_spec(needs) is not None

    def __call__(self, data: Mapping) -> dict:
        if not self.there:
            return dict(data)
        started = time.perf_counter()
        field = self.method(data["fixed_scan"], data["moving_scan"], np.asarray(data["alignment"]))
        return dict(data) | {f"field_{self.key}": field[0], f"seconds_{self.key}": time.perf_counter() - started}


def unmoved(fixed: MetaTensor, moving: MetaTensor, start: np.ndarray) -> Tensor:
    """The field [1, 3, X, Y, Z] of no registration at all: world places stay what they are."""
    return alignment_field(np.eye(4), fixed)


def aligned(fixed: MetaTensor, moving: MetaTensor, start: np.ndarray) -> Tensor:
    """The field [1, 3, X, Y, Z] of the alignment alone."""
    return alignment_field(start, fixed)

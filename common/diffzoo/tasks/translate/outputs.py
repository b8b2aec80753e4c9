"""What a translation leaves: the targets by name, on the grid of the first input and in the units of their kind."""

import json
from collections.abc import Mapping, Sequence

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from diffzoo.imaging.geometry import plain
from diffzoo.imaging.heads import BackToScan
from diffzoo.tasks.translate.roles import JOINED

HOUNSFIELD = (-1000.0, 2000.0, "HU")  # value of 0 in model units, what 1 adds, the unit's name
UNITS = {"ct": HOUNSFIELD, "cbct": HOUNSFIELD}
MAGNITUDE = (0.0, 1000.0, "units")  # of a magnitude, which has no scale of its own: white matter in T1 is about 1000
STD = "_std"


def units(role: str) -> tuple[float, float, str]:
    """What 0 and 1 of the model mean for a role: the value of 0, what 1 adds, and the name of the unit."""
    return UNITS.get(role, MAGNITUDE)


class NameTargets(Transform):
    """Splits "pred" [T or 3 T, H, W, D] of a translation into "draw", and where there were several draws "mean" and "std".

    All [T, H, W, D] in model units, for comparison; and each wanted target, the mean or the draw, as <role> [1, X, Y, Z] on the
    grid of the scan in its unit (`units`), with <role>_std. "words" of the case tells what was made from what.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        self.targets = tuple(targets)

    def __call__(self, data: Mapping) -> dict:
        pred, count, grid = plain(data["pred"]).cpu(), len(self.targets), data["image"].affine
        several = len(pred) == 3 * count
        parts = dict(zip(("mean", "draw", "std") if several else ("draw",), pred.split(count), strict=True))
        roles = [role for role, flag in zip(self.targets, plain(data["wanted"]).flatten().tolist(), strict=True) if flag]
        words = {"given": data["given_roles"], "made": JOINED.join(roles)}
        words["words"] = f"{', '.join(roles).upper()} from {data['given_roles'].upper().replace(JOINED, ', ')}"
        volumes = self._on_scan(data, parts["mean" if several else "draw"], roles)
        if several:
            volumes |= {f"{role}{STD}": v for role, v in self._on_scan(data, parts["std"], roles, spread=True).items()}
        on_grid = {key: MetaTensor(value, affine=grid) for key, value in parts.items()}
        return dict(data) | on_grid | volumes | {"acquisition": json.dumps(words)}

    def _on_scan(self, data: Mapping, stack: Tensor, roles: Sequence[str], spread: bool = False) -> dict[str, MetaTensor]:
        """The targets that were made on the grid of the scan; a spread has no zero of its own."""
        back = BackToScan(keys=("stack",))({**data, "stack": stack})["stack"]
        volumes = {}
        for role in roles:
            zero, unit, _ = units(role)
            volume = plain(back)[self.targets.index(role)][None] * unit
            volumes[role] = MetaTensor(volume if spread else volume + zero, affine=back.affine)
        return volumes


def in_units(x: Tensor, role: str) -> Tensor:
    """Model units as the unit of a role."""
    zero, unit, _ = units(role)
    return torch.as_tensor(x) * unit + zero

"""The report of a translation: volumes, one picture with the truth where it is known, one report."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from diffzoo.imaging.geometry import orient, plain, spacing
from diffzoo.imaging.positions import place
from diffzoo.imaging.preview import Column
from diffzoo.metrics import calibration
from diffzoo.metrics.translated import translated_metrics
from diffzoo.tasks.case_report import CaseReport
from diffzoo.tasks.translate.ct_judged import ct_figures, gains
from diffzoo.tasks.translate.outputs import units

SLICES = 4  # of the first case in the preview
ERROR, STD = 0.5, 0.2  # of model units, the end of the scale of an error and of a standard deviation
WINDOWS = {"ct": (0.0, 0.75), "cbct": (0.0, 0.75)}  # of a role in a picture, black and white: -1000 to 500 HU; else 0 to 1.5
DEFAULT = (0.0, 1.5)
PEAKS = {"ct": 1.5}  # data range of a role in model units, for PSNR: 3000 HU; that of a magnitude is its truth's maximum
METHODS = ("draw", "mean", "regression", "linear", "copy")


class TranslationReport(CaseReport):
    """`CaseReport` of a translation, each target compared with "truth" where that is known, on the model's grid.

    sources and targets: roles in the order of their channels; an item is that of `outputs.NameTargets`, with the volumes of
    `methods` in model units. Of the metrics MAE is in the unit of the role; a case keeps them by method, the mean over its
    targets, and by target under "roles".
    """

    def __init__(self, *, sources: Sequence[str], targets: Sequence[str], **options) -> None:
        super().__init__(**options)
        self.sources, self.targets = tuple(sources), tuple(targets)

    def shape_of(self, item: Mapping):
        """The scan whose grid the outputs have."""
        return item["scan"]

    def facts(self, item: Mapping) -> dict:
        """What was made in which unit; with a truth metrics of each method, and how well the std tells the error."""
        roles = [role for role, flag in zip(self.targets, _flags(item, "wanted"), strict=True) if flag]
        facts = {"units": {role: units(role)[2] for role in roles}, "levels": {role: self._levels(item, role) for role in roles}}
        facts |= {key: item[key] for key in ("subject", "group", "person") if key in item} | {"given": item["given_roles"]}
        known = [role for role, flag in zip(self.targets, _flags(item, "known"), strict=True) if flag]
        if not known:
            return facts
        facts["roles"] = {role: {m: self._judged(item, m, role) for m in self.methods if m in item} for role in known}
        facts["metrics"] = {m: _mean([by[m] for by in facts["roles"].values()]) for m in self.methods if m in item}
        return facts | ({"spread": self._spread(item, known)} if "std" in item else {})

    def _levels(self, item: Mapping, role: str) -> list[float]:
        """The 5 and 95 percentile of a target in the body, in its unit."""
        volume = plain(item["mean" if "mean" in item else "draw"])[self.targets.index(role)].numpy()
        zero, unit, _ = units(role)
        return [round(float(zero + unit * x), 1) for x in np.percentile(volume[plain(item["inside"])[0].numpy() > 0], (5, 95))]

    def _judged(self, item: Mapping, method: str, role: str) -> dict[str, float]:
        k = self.targets.index(role)
        image, truth = (plain(item[key])[k].numpy() for key in (method, "truth"))
        inside = plain(item["inside"])[0].numpy() > 0
        figures = translated_metrics(image, truth, inside, PEAKS.get(role))
        if role in PEAKS:
            figures |= ct_figures(image, truth, inside)
            source = item.get("source") if method != "source" else None
            figures |= {} if source is None else gains(image, plain(source)[0].numpy(), truth, inside, PEAKS[role])
        return _finite(figures | {"mae": figures["mae"] * units(role)[1]})

    def _spread(self, item: Mapping, known: Sequence[str]) -> dict:
        """Coverage of intervals, the factor that would set them right at 80 %, and rank correlation with the error."""
        rows, inside = [self.targets.index(role) for role in known], plain(item["inside"])[0].numpy() > 0
        error, std = (
            np.concatenate([x[k].numpy()[inside] for k in rows])
            for x in (plain(item["mean"]) - plain(item["truth"]), plain(item["std"]))
        )
        return _finite(calibration.spread_figures(error, std))

    def rows_of(self, item: Mapping) -> list[dict]:
        """Slices at even distances through the body; of a later case only one."""
        grid, planes = item["image"], {}
        for role, flag, volume in zip(self.sources, _flags(item, "given"), plain(item["image"]), strict=True):
            planes |= {f"given: {role}": _grey(volume, role)} if flag else {}
        wanted_flags, known = _flags(item, "wanted"), _flags(item, "known")
        wanted = [k for k, flag in enumerate(wanted_flags) if flag]
        shown = "mean" if "mean" in item else "draw"
        for k in wanted:
            planes[f"made: {self.targets[k]}"] = _grey(plain(item[shown])[k], self.targets[k])
        if len(wanted) == 1 and known[wanted[0]]:
            [k] = wanted
            planes["true"] = _grey(plain(item["truth"])[k], self.targets[k])
            planes["error"] = (plain(item[shown])[k] - plain(item["truth"])[k]).abs() / ERROR
        if len(wanted) == 1 and "std" in item:
            planes["std"] = plain(item["std"])[wanted[0]] / STD
        area = plain(item["inside"])[0].float().mean((0, 1)).numpy()
        slices = np.flatnonzero(area > 0.5 * area.max())
        places = np.linspace(slices.min(), slices.max(), (1 if self.cases[1:] else SLICES) + 2)[1:-1].round().astype(int)
        steps, affine, shape = spacing(orient(grid, "RAS").affine)[:2], np.asarray(grid.affine), grid.shape[1:]
        shared = {"case": item["case"], "spacing": steps, "roles": self._roles(item)}
        return [
            shared
            | {"planes": {k: np.asarray(v[..., z]) for k, v in planes.items()}}
            | {"place": place(affine, shape, int(z), item["notes"], own=False)}
            for z in places[::-1]
        ]

    def _roles(self, item: Mapping) -> dict[str, str]:
        """The role whose unit a column of the preview has."""
        wanted = [role for role, flag in zip(self.targets, _flags(item, "wanted"), strict=True) if flag]
        names = {f"given: {role}": role for role in self.sources} | {f"made: {role}": role for role in self.targets}
        return names | dict.fromkeys(("true", "error", "std"), wanted[0] if wanted else self.targets[0])

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """What was given, what was made, the truth and the error where there is one target, and its std."""
        names, blank = rows[0]["planes"], np.zeros((2, 2), np.float32)
        columns = []
        for name in names:
            planes = [row["planes"].get(name, blank) for row in rows]
            zero, level, unit = units(rows[0]["roles"][name])
            low, high = WINDOWS.get(rows[0]["roles"][name], DEFAULT)
            off = name in ("error", "std")
            scale = ((STD if name == "std" else ERROR) * level, 0.0) if off else ((high - low) * level, zero + low * level)
            columns.append(Column(name, planes, "error" if off else "grey", unit=unit, scale=scale))
        return columns

    def words(self, case: Mapping) -> list[str]:
        """What was made, and the leading figure of each method."""
        return [case["acquisition"]["words"], *super().words(case)]

    def caption(self, case: Mapping) -> str:
        """What was made from what, its calls, and PSNR where the truth is known."""
        words = [f"{case['acquisition']['words']}, {case['network_calls']:g} network calls a slice"]
        words += [f"{m} {v['psnr']:.1f} dB" for m, v in case.get("metrics", {}).items()]
        return " | ".join(words)


def _grey(volume: Tensor, role: str) -> Tensor:
    """A volume in model units as grey values from 0 to 1, by the window of its role."""
    low, high = WINDOWS.get(role, DEFAULT)
    return ((volume - low) / (high - low)).clamp(0, 1)


def _flags(item: Mapping, key: str) -> list[bool]:
    return [bool(flag) for flag in plain(item[key]).flatten().tolist()]


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that have a value: a constant image has no detail, and few voxels have no ranks."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over roles, of those that have it."""
    names = dict.fromkeys(name for figure in figures for name in figure)
    return {name: float(np.mean([figure[name] for figure in figures if name in figure])) for name in names}

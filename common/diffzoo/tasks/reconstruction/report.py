"""The report of a reconstruction: volumes, one picture with the truth where it is known, one report."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from diffzoo.imaging.geometry import restore, spacing
from diffzoo.imaging.positions import place
from diffzoo.imaging.preview import Column
from diffzoo.metrics.image_quality import slice_metrics, spread_metrics
from diffzoo.tasks.case_report import CaseReport, in_unit

AIR = -1000.0  # HU: a floor that tells a CT
WINDOWS = ((-1350.0, 150.0, "lung"), (-160.0, 240.0, "mediastinum"))  # HU shown black and white, of a CT
ERROR_HU = 200.0  # the end of the scale of its error


class Report(CaseReport):
    """`CaseReport` of a reconstruction, compared with "reference" where there is one.

    methods: keys to compare, the first being the bundle's own; columns: keys of the picture and their titles, where present,
    those of `own_scale` in their own range. floor: the value of nothing (0 for magnitudes, -1000 for HU); tissue: the share of
    the brightest above which a pixel counts for the std map.
    """

    def __init__(
        self,
        bundle_root: str,
        output_dir: str,
        weights: str,
        inferer,
        volumes: Sequence[str],
        methods: Sequence[str],
        columns: Mapping[str, str],
        parameters: Mapping | None = None,
        own_scale: Sequence[str] = (),
        floor: float = 0.0,
        tissue: float = 0.1,
        trust: str = "not scanned",
    ) -> None:
        super().__init__(bundle_root, output_dir, weights, inferer, volumes, parameters, trust, methods)
        self.columns, self.own_scale, self.floor, self.tissue = dict(columns), tuple(own_scale), floor, tissue

    def shape_of(self, item: Mapping):
        """The bundle's own reconstruction."""
        return item[self.methods[0]]

    def facts(self, item: Mapping) -> dict:
        """Data residual and figures of the inferer; with a reference metrics of each method, and how well the std map ranks."""
        facts = {key: self.inferer.stats[key] for key in ("data_residual", "figures")}
        if "reference" in item:
            facts |= {key: item[key] for key in ("subject", "group") if key in item}
            facts["metrics"], facts["by_slice"] = self._metrics(item)
            if "std" in item:
                image, truth = (self._plain(item[key], item) for key in (self.methods[0], "reference"))
                spread = spread_metrics(_slices_last(item["std"], item), image, truth, self.tissue)
                if all(map(math.isfinite, spread.values())):  # not so for slices of air, or of a few pixels
                    facts["spread"] = spread
        return facts

    def _metrics(self, item: Mapping) -> tuple[dict, dict]:
        reference = self._plain(item["reference"], item)
        peak = float(item["peak"]) - self.floor if "peak" in item else None
        by_slice = {m: slice_metrics(self._plain(item[m], item), reference, peak) for m in self.methods if m in item}
        means = {m: {name: float(np.mean(v)) for name, v in values.items() if v} for m, values in by_slice.items()}
        return means, by_slice

    def _plain(self, volume, item: Mapping) -> np.ndarray:
        """A volume as slices, in units above the value of nothing."""
        return _slices_last(volume, item) - self.floor

    def _ground(self, row: Mapping) -> str:
        return "reference" if "reference" in row["planes"] else self.methods[0]

    def rows_of(self, item: Mapping) -> list[dict]:
        """The middle slice of the case; of the first case also a second one; a CT in two windows."""
        above = {k: _slices_last(item[k], item) for k in ("std", *self.own_scale) if k in item}
        stacks = {k: above.get(k, self._plain(item[k], item)) for k in self.columns if k in item}
        shape = stacks[self.methods[0]].shape
        places = [shape[-1] // 2] if self.cases[1:] or shape[-1] < 6 else [shape[-1] // 2, shape[-1] // 3]
        affine, numbers = np.asarray(item["image"].affine), item.get("slice_index")
        rows = []
        for k in places:
            where = place(affine, shape, k, item["notes"], None if numbers is None else int(numbers[k]))
            shared = {
                "case": item["case"],
                "planes": {key: v[..., k] for key, v in stacks.items()},
                "spacing": spacing(affine)[:2],
            }
            for window in WINDOWS if self.floor == AIR else (None,):
                labelled = where if window is None else where._replace(words=f"{where.words}\n{_titled(*window)}")
                rows.append(shared | {"place": labelled, "window": window})
        return rows

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """What all rows have of `columns`, and the error where the truth is known."""
        columns, own = [], self.methods[0]
        bright, most = ("% of brightest", 100.0) if self.floor != AIR else ("HU", 1.0)
        for key in (k for k in rows[0]["planes"] if all(k in row["planes"] for row in rows)):
            if key == "std":
                planes = [self._absolute(row["planes"][key], row, 0.1) for row in rows]
                columns.append(Column(self.columns[key], planes, "error", unit=bright, scale=(most * self._reach(0.1), 0.0)))
                continue
            planes = [self._shown(row["planes"][key], row, key) for row in rows]
            unit = "of the brightest" if self.floor != AIR or key in self.own_scale else "of the window"
            columns.append(Column(self.columns[key], planes, unit=unit))
        if all("reference" in row["planes"] for row in rows):
            errors = [self._absolute(np.abs(r["planes"][own] - r["planes"]["reference"]), r, 0.2) for r in rows]
            columns.append(Column("error", errors, "error", unit=bright, scale=(most * self._reach(0.2), 0.0)))
        return columns

    def _shown(self, plane: np.ndarray, row: Mapping, key: str) -> np.ndarray:
        """A plane in units of its window, or of the bright end of the truth."""
        if key in self.own_scale or row["window"] is None:
            return in_unit(plane, row["planes"][key if key in self.own_scale else self._ground(row)])
        low, high, _ = row["window"]
        return (plane + self.floor - low) / (high - low)

    def _reach(self, share: float) -> float:
        """The end of the scale of an error: HU of a CT, else a share of the bright end."""
        return ERROR_HU if self.floor == AIR else share

    def _absolute(self, plane: np.ndarray, row: Mapping, share: float) -> np.ndarray:
        """A plane of errors in units of the end of their scale."""
        shown = plane if self.floor == AIR else in_unit(plane, row["planes"][self._ground(row)])
        return shown / self._reach(share)

    def caption(self, case: Mapping) -> str:
        """What was measured, the cost, and PSNR where the truth is known."""
        words = [f"{case['acquisition']['words']}, {case['network_calls']:g} network calls"]
        if "metrics" in case:
            words += [f"{m.replace('_', '-')} {v['psnr']:.1f} dB" for m, v in case["metrics"].items() if "psnr" in v]
        return " | ".join(words)


def _slices_last(volume, item: Mapping) -> np.ndarray:
    """[1, X, Y, Z] on the stored grid -> [H, W, D] of the slices that were reconstructed."""
    return np.asarray(restore(volume, np.asarray(item["image"].affine)).as_tensor()[0])


def _titled(low: float, high: float, name: str) -> str:
    return f"{name} {low:g} to {high:g} HU".replace("-", "\N{MINUS SIGN}")

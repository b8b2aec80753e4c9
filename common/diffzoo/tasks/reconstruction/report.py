"""The report of a reconstruction: volumes, one picture with the truth where it is known, one report."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from diffzoo.imaging.geometry import restore
from diffzoo.imaging.preview import Column
from diffzoo.metrics.image_quality import slice_metrics, spread_metrics
from diffzoo.tasks.case_report import CaseReport, in_unit


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
        told = {key: self.inferer.stats[key] for key in ("data_residual", "figures")}
        if "reference" in item:
            told |= {key: item[key] for key in ("subject", "group") if key in item}
            told["metrics"], told["by_slice"] = self._metrics(item)
            if "std" in item:
                found, truth = (self._plain(item[key], item) for key in (self.methods[0], "reference"))
                spread = spread_metrics(_slices_last(item["std"], item), found, truth, self.tissue)
                if all(map(math.isfinite, spread.values())):  # not so for slices of air, or of a few pixels
                    told["spread"] = spread
        return told

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
        """The middle slice of the case; of the first case also a second one."""
        above = {k: _slices_last(item[k], item) for k in ("std", *self.own_scale) if k in item}
        stacks = {k: above.get(k, self._plain(item[k], item)) for k in self.columns if k in item}
        count = stacks[self.methods[0]].shape[-1]
        places = [count // 2] if self.cases[1:] or count < 6 else [count // 2, count // 3]
        return [{"case": item["case"], "planes": {k: v[..., place] for k, v in stacks.items()}} for place in places]

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """What all rows have of `columns`, and the error where the truth is known."""
        columns, own = [], self.methods[0]
        for key in (k for k in rows[0]["planes"] if all(k in row["planes"] for row in rows)):
            style = "error" if key == "std" else "grey"
            grounds = [row["planes"][key if key in self.own_scale else self._ground(row)] for row in rows]
            planes = [in_unit(row["planes"][key], ground) for row, ground in zip(rows, grounds, strict=True)]
            columns.append(Column(self.columns[key], planes, style, 10.0 if key == "std" else 1.0))
        if all("reference" in row["planes"] for row in rows):
            errors = [np.abs(r["planes"][own] - r["planes"]["reference"]) for r in rows]
            errors = [in_unit(e, r["planes"]["reference"]) for e, r in zip(errors, rows, strict=True)]
            columns.append(Column("error", errors, "error", 5.0))
        return columns

    def caption(self, case: Mapping) -> str:
        """What was measured, the cost, and PSNR where the truth is known."""
        words = [f"{case['acquisition']['words']}, {case['network_calls']:g} network calls"]
        if "metrics" in case:
            words += [f"{m.replace('_', '-')} {v['psnr']:.1f} dB" for m, v in case["metrics"].items() if "psnr" in v]
        return " | ".join(words)


def _slices_last(volume, item: Mapping) -> np.ndarray:
    """[1, X, Y, Z] on the stored grid -> [H, W, D] of the slices that were reconstructed."""
    return np.asarray(restore(volume, np.asarray(item["image"].affine)).as_tensor()[0])

"""What a run leaves for a person: volumes, one picture, one report."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.imaging.files import write_json, write_volume
from diffzoo.imaging.geometry import restore, spacing
from diffzoo.imaging.metrics import slice_metrics, spread_metrics
from diffzoo.imaging.preview import Column, montage
from diffzoo.zoo.facts import bundle_facts, software_facts

ROWS = 4  # of the preview


class Report:
    """After each case writes `<case>_<volume>.nii.gz` in the input's geometry; keeps preview.png and report.json up to date.

    volumes: keys to write where present; methods: keys to compare with "reference" where there is one, the first being the
    bundle's own; parameters: what the config was set to; columns: keys of the picture and their titles, where present, those of
    `own_scale` in their own range. floor: the value of nothing (0 for magnitudes, -1000 for HU); tissue: the share of the
    brightest above which a pixel counts for the std map; trust: what `zoo.trust` says of the bundle. Everything is
    written beside and renamed.
    """

    def __init__(
        self,
        bundle_root: str,
        output_dir: str,
        weights: str,
        inferer,
        volumes: Sequence[str],
        methods: Sequence[str],
        parameters: Mapping,
        columns: Mapping[str, str],
        own_scale: Sequence[str] = (),
        floor: float = 0.0,
        tissue: float = 0.1,
        trust: str = "not scanned",
    ) -> None:
        self.bundle_root, self.folder, self.weights, self.inferer = bundle_root, Path(output_dir), weights, inferer
        self.volumes, self.methods, self.parameters = tuple(volumes), tuple(methods), dict(parameters)
        self.columns, self.own_scale, self.floor, self.tissue = dict(columns), tuple(own_scale), floor, tissue
        self.trust = trust
        self.cases: list[dict] = []
        self.rows: list[dict] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._case)

    def _start(self) -> None:
        self.started = time.perf_counter()

    def _case(self, engine: Engine) -> None:
        for given, made in zip(engine.state.batch, engine.state.output, strict=True):
            item = {**given, **made}
            self.cases.append(self._record(item))
            self._keep_rows(item)
        write_json(self.folder / "report.json", self.summary(str(engine.state.device)))
        self._preview()

    def _record(self, item: Mapping) -> dict:
        written = []
        for key in (k for k in self.volumes if k in item):
            written.append(write_volume(self.folder / f"{item['case']}_{key}.nii.gz", item[key]).name)
        record = {
            "case": item["case"],
            "input": Path(str(item["image_path"])).name,
            "outputs": written,
            "shape": list(item[self.methods[0]].shape[1:]),
            "spacing_mm": [round(s, 4) for s in spacing(item[self.methods[0]].affine)],
            "acquisition": json.loads(item["acquisition"]),
            **{key: self.inferer.stats[key] for key in ("network_calls", "data_residual", "figures")},
            "seconds": round(time.perf_counter() - self.started, 2),
            "warnings": item["notes"].splitlines(),
        }
        if "reference" in item:
            record["metrics"], record["by_slice"] = self._metrics(item)
            if "std" in item:
                found, truth = (self._plain(item[key], item) for key in (self.methods[0], "reference"))
                spread = spread_metrics(_slices_last(item["std"], item), found, truth, self.tissue)
                if all(map(math.isfinite, spread.values())):  # not so for slices of air, or of a few pixels
                    record["spread"] = spread
        return record

    def _metrics(self, item: Mapping) -> tuple[dict, dict]:
        reference = self._plain(item["reference"], item)
        by_slice = {m: slice_metrics(self._plain(item[m], item), reference) for m in self.methods if m in item}
        means = {m: {name: float(np.mean(v)) for name, v in values.items() if v} for m, values in by_slice.items()}
        return means, by_slice

    def _plain(self, volume, item: Mapping) -> np.ndarray:
        """A volume as slices, in units above the value of nothing."""
        return _slices_last(volume, item) - self.floor

    def _ground(self, row: Mapping) -> str:
        return "reference" if "reference" in row["planes"] else self.methods[0]

    def _keep_rows(self, item: Mapping) -> None:
        """Planes of the case's middle slice for the preview; of the first case also a second one."""
        above = {k: _slices_last(item[k], item) for k in ("std", *self.own_scale) if k in item}
        stacks = {k: above.get(k, self._plain(item[k], item)) for k in self.columns if k in item}
        count = stacks[self.methods[0]].shape[-1]
        places = [count // 2] if self.cases[1:] or count < 6 else [count // 2, count // 3]
        for place in places:
            self.rows.append({"case": item["case"], "planes": {k: v[..., place] for k, v in stacks.items()}})

    def _preview(self) -> None:
        rows = self.rows[:ROWS]
        columns = []
        own = self.methods[0]
        for key in (k for k in rows[0]["planes"] if all(k in row["planes"] for row in rows)):
            style = "error" if key == "std" else "grey"
            grounds = [row["planes"][key if key in self.own_scale else self._ground(row)] for row in rows]
            planes = [_unit(row["planes"][key], ground) for row, ground in zip(rows, grounds, strict=True)]
            columns.append(Column(self.columns[key], planes, style, 10.0 if key == "std" else 1.0))
        if all("reference" in row["planes"] for row in rows):
            errors = [np.abs(r["planes"][own] - r["planes"]["reference"]) for r in rows]
            errors = [_unit(e, r["planes"]["reference"]) for e, r in zip(errors, rows, strict=True)]
            columns.append(Column("error", errors, "error", 5.0))
        names = [row["case"] if len({r["case"] for r in rows}) > 1 else "" for row in rows]
        montage(
            self.folder / "preview.png", columns, window=(0.0, 1.0), labels=names if any(names) else None, caption=self._caption()
        )

    def _caption(self) -> str:
        case = self.cases[0]
        words = [f"{case['acquisition']['words']}, {case['network_calls']:g} network calls"]
        if "metrics" in case:
            words += [f"{m.replace('_', '-')} {v['psnr']:.1f} dB" for m, v in case["metrics"].items() if "psnr" in v]
        return " | ".join(words)

    def summary(self, device: str) -> dict:
        """The content of report.json."""
        cases = [{k: v for k, v in case.items() if k != "by_slice"} for case in self.cases]
        return {
            "bundle": bundle_facts(self.bundle_root, self.weights) | {"trust": self.trust},
            "software": software_facts(),
            "device": device,
            "parameters": self.parameters,
            "cases": cases,
            "notice": "For research use; not a medical device, not for diagnosis.",
        }


def _slices_last(volume, item: Mapping) -> np.ndarray:
    """[1, X, Y, Z] on the stored grid -> [H, W, D] of the slices that were reconstructed."""
    return np.asarray(restore(volume, np.asarray(item["image"].affine)).as_tensor()[0])


def _unit(plane: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """A plane in units of the bright end of another, so that scans of any intensity share one window."""
    return plane / max(float(np.percentile(ground, 99.5)), 1e-12)

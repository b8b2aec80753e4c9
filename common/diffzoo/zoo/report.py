"""What a run leaves for a person: volumes, one picture, one report."""

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
from diffzoo.operators.masks import effective_acceleration
from diffzoo.zoo.facts import bundle_facts, software_facts

ROWS = 4  # of the preview


class Report:
    """After each case writes `<case>_<volume>.nii.gz` in the input's geometry; keeps preview.png and report.json up to date.

    volumes: keys to write where present; methods: keys to compare with "reference" where there is one, the first being the
    bundle's own; parameters: what the config was set to. Everything is written beside and renamed.
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
    ) -> None:
        self.bundle_root, self.folder, self.weights, self.inferer = bundle_root, Path(output_dir), weights, inferer
        self.volumes, self.methods, self.parameters = tuple(volumes), tuple(methods), dict(parameters)
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
            "undersampling": "retrospective" if item["retrospective"] else "measured",
            "effective_acceleration": round(effective_acceleration(item["mask"]), 3),
            "network_calls": self.inferer.stats["network_calls"],
            "data_residual": self.inferer.stats["data_residual"],
            "seconds": round(time.perf_counter() - self.started, 2),
            "warnings": item["notes"].splitlines(),
        }
        if "reference" in item:
            record["metrics"], record["by_slice"] = self._metrics(item)
            if "std" in item:
                planes = [_slices_last(item[key], item) for key in ("std", self.methods[0], "reference")]
                spread = spread_metrics(*planes)
                if all(map(math.isfinite, spread.values())):  # not so for slices of air, or of a few pixels
                    record["spread"] = spread
        return record

    def _metrics(self, item: Mapping) -> tuple[dict, dict]:
        reference = _slices_last(item["reference"], item)
        by_slice = {m: slice_metrics(_slices_last(item[m], item), reference) for m in self.methods}
        means = {m: {name: float(np.mean(v)) for name, v in values.items() if v} for m, values in by_slice.items()}
        return means, by_slice

    def _keep_rows(self, item: Mapping) -> None:
        """Planes of the case's middle slice for the preview; of the first case also a second one."""
        keys = ["reference", *self.methods[::-1], "std"]
        stacks = {k: _slices_last(item[k], item) for k in keys if k in item}
        count = stacks[self.methods[0]].shape[-1]
        places = [count // 2] if self.cases[1:] or count < 6 else [count // 2, count // 3]
        for place in places:
            self.rows.append({"case": item["case"], "planes": {k: v[..., place] for k, v in stacks.items()}})

    def _preview(self) -> None:
        rows = self.rows[:ROWS]
        columns = []
        titles = {"reference": "fully sampled", "recon": "reconstruction", "std": "standard deviation"}
        shared = [k for k in rows[0]["planes"] if all(k in row["planes"] for row in rows)]
        for key in shared:
            style = "error" if key == "std" else "grey"
            planes = [_unit(row["planes"][key], row["planes"]) for row in rows]
            columns.append(Column(titles.get(key, key.replace("_", "-")), planes, style, 10.0 if key == "std" else 1.0))
        if "reference" in shared:
            errors = [
                np.abs(_unit(r["planes"]["recon"], r["planes"]) - _unit(r["planes"]["reference"], r["planes"])) for r in rows
            ]
            columns.append(Column("error", errors, "error", 5.0))
        names = [row["case"] if len({r["case"] for r in rows}) > 1 else "" for row in rows]
        montage(
            self.folder / "preview.png", columns, window=(0.0, 1.0), labels=names if any(names) else None, caption=self._caption()
        )

    def _caption(self) -> str:
        case = self.cases[0]
        undersampling = f"{case['effective_acceleration']:.2f}x {case['undersampling']} undersampling"
        words = [f"{undersampling}, {case['network_calls']:g} network calls"]
        if "metrics" in case:
            words += [f"{m.replace('_', '-')} {v['psnr']:.1f} dB" for m, v in case["metrics"].items() if "psnr" in v]
        return " | ".join(words)

    def summary(self, device: str) -> dict:
        """The content of report.json."""
        cases = [{k: v for k, v in case.items() if k != "by_slice"} for case in self.cases]
        return {
            "bundle": bundle_facts(self.bundle_root, self.weights),
            "software": software_facts(),
            "device": device,
            "parameters": self.parameters,
            "cases": cases,
            "notice": "For research use; not a medical device, not for diagnosis.",
        }


def _slices_last(volume, item: Mapping) -> np.ndarray:
    """[1, X, Y, Z] on the stored grid -> [H, W, D] of the slices that were reconstructed."""
    return np.asarray(restore(volume, np.asarray(item["image"].affine)).as_tensor()[0])


def _unit(plane: np.ndarray, planes: Mapping[str, np.ndarray]) -> np.ndarray:
    """A plane in units of the bright end of its row's image, so that scans of any intensity share one window."""
    ground = planes.get("reference", planes["recon"])
    return plane / max(float(np.percentile(ground, 99.5)), 1e-12)

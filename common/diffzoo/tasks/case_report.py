"""What every run leaves for a person, whatever the task: volumes, one picture, one report."""

import json
import shlex
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events

from diffzoo.facts import bare, bundle_facts, input_facts, software_facts
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.io.files import write_bytes, write_json, write_volume
from diffzoo.imaging.positions import CONVENTION, taken
from diffzoo.imaging.preview import Column, montage
from diffzoo.parameters import stock_changes, stock_configs, stock_settings
from diffzoo.tasks.case_table import table
from diffzoo.tasks.task import task_at
from diffzoo.training.datalist import PATHS

ROWS = 4  # of the preview
WHOLE = ("mask", "label", "label_warped")  # volumes of whole numbers


class CaseReport(ABC):
    """After each case writes `<case>_<volume>.nii.gz` in the input's geometry, and keeps picture, report.json and report.csv.

    volumes: keys to write where present; parameters: what the config was set to, by default read off the command line of MONAI's
    own programs; trust: what `zoo.trust` says of the bundle; methods: what is compared with a truth. A task says in a subclass
    what it tells of a case and what it shows, `most` rows in all. Everything is written beside and renamed.
    """

    most = ROWS

    def __init__(
        self,
        bundle_root: str,
        output_dir: str,
        weights: str,
        inferer,
        volumes: Sequence[str],
        parameters: Mapping | None = None,
        trust: str = "not scanned",
        methods: Sequence[str] = (),
    ) -> None:
        self.bundle_root, self.folder, self.weights, self.inferer = bundle_root, Path(output_dir), weights, inferer
        self.volumes, self.trust = tuple(volumes), trust
        settings = stock_settings(bundle_root) if parameters is None else parameters
        self.parameters = {key: bare(value) for key, value in settings.items()}
        self.methods = tuple(methods)
        self.cases: list[dict] = []
        self.failed: list[dict[str, str]] = []
        self.rows: list[dict] = []
        self.alone = True  # one of several workers leaves report and picture to who collects them
        self.hashes: dict[str, dict[str, str]] = {}
        self.begin((), stock_configs(), shlex.join(bare(word) for word in sys.argv), stock_changes(bundle_root))

    def begin(self, cases: Sequence[Mapping], configs: Sequence[str], command: str, changed: Mapping) -> None:
        """Notes what a run is to do: its cases as they were listed, the configs laid over each other, and its command line.

        changed: parameters that differ from those of the configs.
        """
        self.changed = dict(changed)
        self.listed = {case["case"]: dict(case) for case in cases}
        configs = [Path(name).name.removesuffix(".yaml") for name in configs]
        self.run = {"command": command, "configs": configs, "date": datetime.now(UTC).isoformat(timespec="seconds")}

    @abstractmethod
    def shape_of(self, item: Mapping):
        """The volume [C, X, Y, Z] whose shape and spacing stand for the case."""

    @abstractmethod
    def facts(self, item: Mapping) -> dict:
        """What the task tells of a case, for its record; keys that begin with "by_" stay out of report.json."""

    @abstractmethod
    def rows_of(self, item: Mapping) -> list[dict]:
        """Rows of the preview that show a case: {"case": name, "spacing": mm of a plane (1, 1 if absent), "place": ..., ...}."""

    @abstractmethod
    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """The columns of the preview, grey values from 0 to 1."""

    @abstractmethod
    def caption(self, case: Mapping) -> str:
        """One line below the preview, from the record of the first case."""

    def words(self, case: Mapping) -> list[str]:
        """What a person is told of a finished case, from its record."""
        return [f"{method.replace('_', '-')} {_leading(m)}" for method, m in case.get("metrics", {}).items() if m]

    def line(self, case: Mapping) -> str:
        """One line on a finished case."""
        warnings = [f"warning: {text}" for text in case["warnings"]]
        return ", ".join([f"{case['case']}: {case['seconds']:.1f} s", *self.words(case), *warnings])

    def write(self, path: Path, key: str, item: Mapping) -> Path:
        """Writes one of the volumes and returns its path."""
        return write_volume(path, item[key], dtype="uint8" if key in WHOLE else "float32")

    def more(self, item: Mapping) -> list[Path]:
        """Writes what a case leaves beside the volumes on its grid, and returns the paths."""
        return []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._case)

    def _start(self) -> None:
        self.started = time.perf_counter()

    def _case(self, engine: Engine) -> None:
        for given, output in zip(engine.state.batch, engine.state.output, strict=True):
            item = {key: value for key, value in {**given, **output}.items() if value is not None}  # MONAI adds a label of None
            self.cases.append(self._record(item))
            rows = self.rows_of(item) if len(self.rows) < self.most else []
            self.show(rows, str(engine.state.device))

    def add(self, record: dict, rows: Sequence[dict], device: str) -> None:
        """Takes a case that a worker has finished: its record and its rows of the preview."""
        self.cases.append(record)
        self.show(rows, device)

    def keep(self, records: Sequence[dict]) -> None:
        """Takes the cases of an earlier run that stay as they are; a picture of them that is there stays, too."""
        self.cases += records
        if records and (self.folder / "preview.png").is_file():
            self.most = 0

    def show(self, rows: Sequence[dict], device: str) -> None:
        """Brings picture and reports up to date with the last case."""
        if new := list(rows)[: max(0, self.most - len(self.rows))]:
            self.rows = [*self.rows, *new]
        if not self.alone:
            return
        if new:
            self._preview()
        self._write(device)

    def _record(self, item: Mapping) -> dict:
        written: list[Path] = []
        try:
            for key in (k for k in self.volumes if k in item):
                written.append(self.write(self.folder / f"{item['case']}_{key}.nii.gz", key, item))
            outputs = [path.name for path in written]
            written += self.more(item)
            beside = [path.name for path in written[len(outputs) :]]
            record = self._facts_of(item, outputs) | ({"beside": beside} if beside else {})
            return self._judged_by_task(record)
        except Exception:  # no volume stays without its report
            for path in written:
                path.unlink(missing_ok=True)
            raise

    def _judged_by_task(self, case: dict) -> dict:
        """The record with what its task doubts of it among its warnings."""
        doubts = task_at(self.bundle_root).doubts(case, self.changed)
        return case | {"warnings": [*case["warnings"], *doubts], "by_task": doubts}

    def _facts_of(self, item: Mapping, written: list[str]) -> dict:
        stands = self.shape_of(item)
        return {
            "case": item["case"],
            "input": Path(str(item["image_path"])).name,
            "inputs": self.inputs(item),
            "outputs": written,
            "shape": list(stands.shape[1:]),
            "spacing_mm": [round(s, 4) for s in spacing(stands.affine)],
            "acquisition": json.loads(item["acquisition"]),
            "network_calls": self.inferer.stats["network_calls"],
            "seconds": round(time.perf_counter() - self.started, 2),
            "warnings": item["notes"].splitlines(),
            **({"slices": taken(item["slice_index"], item["image"].affine)} if "slices" in self.parameters else {}),
            **self.facts(item),
        }

    def inputs(self, item: Mapping) -> dict:
        """Name and sha256 of each file or series that the case was made of, by its key in the list."""
        listed = self.listed.get(item["case"]) or {"image": item["image_path"]}
        files = {}
        for key in (k for k in PATHS if k in listed):
            paths = listed[key] if isinstance(listed[key], list) else [listed[key]]
            facts = [self._hashed(str(path)) for path in paths if isinstance(path, str | Path) and Path(path).exists()]
            files |= {key: facts if isinstance(listed[key], list) else facts[0]} if facts else {}
        return files

    def _hashed(self, path: str) -> dict[str, str]:
        if path not in self.hashes:
            self.hashes[path] = input_facts(path)
        return self.hashes[path]

    def note_failure(self, case: str, error: Exception, device: str) -> None:
        """Tells of a case that failed in report.json, which is there once a case has worked."""
        self.failed.append({"case": case, "error": str(error)})
        if self.cases and self.alone:
            self._write(device)

    def _write(self, device: str) -> None:
        write_json(self.folder / "report.json", self.summary(device))
        text = table(self.cases, self.failed, self._unstarted())
        write_bytes(self.folder / "report.csv", text.encode(errors="backslashreplace"))

    def _unstarted(self) -> list[str]:
        begun = {case["case"] for case in (*self.cases, *self.failed)}
        return [name for name in self.listed if name not in begun]

    def _preview(self) -> None:
        names = [row["case"] for row in self.rows]
        montage(
            self.folder / "preview.png",
            self.columns_of(self.rows),
            window=(0.0, 1.0),
            spacing=self.rows[0].get("spacing", (1.0, 1.0)),
            labels=names if len(set(names)) > 1 else None,
            caption="\n".join([*self._captions(list(dict.fromkeys(names))), *self._doubted(set(names))]),
            places=[row["place"] for row in self.rows] if all("place" in row for row in self.rows) else None,
        )

    def _captions(self, shown: Sequence[str]) -> list[str]:
        """A line for each case that is shown, or for the first where they are many."""
        cases = [case for case in self.cases if case["case"] in shown]
        if not 1 < len(cases) <= ROWS:
            return [self.caption(self.cases[0])]
        return [f"{case['case']}: {self.caption(case)}" for case in cases]

    def _doubted(self, names: set[str]) -> list[str]:
        """A line for each doubt about a case of the picture."""
        several = len(names) > 1
        lines = [(case["case"], text) for case in self.cases if case["case"] in names for text in case.get("by_task", ())]
        return [f"warning: {name}: {text}" if several else f"warning: {text}" for name, text in lines]

    def summary(self, device: str) -> dict:
        """The content of report.json."""
        cases = [{k: v for k, v in case.items() if not k.startswith("by_")} for case in self.cases]
        return {
            "bundle": bundle_facts(self.bundle_root, self.weights) | {"trust": self.trust},
            "software": software_facts(),
            "device": device,
            "run": self.run,
            "parameters": self.parameters,
            "positions": CONVENTION,
            "cases": cases,
            "failed": self.failed,
            "unstarted": self._unstarted(),
            "notice": "For research use; not a medical device, not for diagnosis.",
        }


def _leading(metrics: Mapping) -> str:
    """The leading figure of a method, with its name or unit."""
    name, value = next(iter(metrics.items()))
    return f"{value:.1f} dB" if name == "psnr" else f"{name.upper()} {value:.3f}"


def in_unit(plane: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """A plane in units of the bright end of another, so that scans of any intensity share one window."""
    return plane / max(float(np.percentile(ground, 99.5)), 1e-12)

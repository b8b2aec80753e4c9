"""Many cases: shared out among processes, gone on with after an interruption, each with a status."""

import json
import os
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from diffzoo.errors import InputError
from diffzoo.tasks.reconstruction.inferer import Reconstruct
from diffzoo.zoo import workers
from diffzoo.zoo.session import Failure
from diffzoo.zoo.work import _ran, run_cases

SHORT = ["steps=1", "slices=central:1"]
VARYING = ("seconds",)  # of a case


@pytest.fixture
def scans(nifti, volume):
    return [nifti(volume((24, 20, 2), seed), name=f"scans/{name}.nii.gz") for seed, name in enumerate("abc")]


def run(scans, folder, settings=SHORT, **more) -> tuple[list[dict], list[str]]:
    lines = []
    return run_cases("score_mri", scans, folder, settings, device="cpu", say=lines.append, **more), lines


def told(folder) -> dict:
    """report.json without what no two runs share."""
    report = json.loads((folder / "report.json").read_text())
    report.pop("run")
    report["cases"] = [{key: value for key, value in case.items() if key not in VARYING} for case in report["cases"]]
    return report


def voxels(folder) -> dict[str, bytes]:
    return {path.name: np.asarray(nib.load(path).dataobj).tobytes() for path in folder.glob("*.nii.gz")}


def test_workers_leave_what_one_process_leaves(scans, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # as many threads in a worker
    bad = tmp_path / "scans" / "bad.nii.gz"
    bad.write_bytes(b"no image")
    given = [scans[0], bad, *scans[1:]]
    for processes in (1, 2):
        with pytest.raises(InputError, match="1 of 4 cases failed"):
            run(given, tmp_path / f"out{processes}", workers=processes)
    one, two = tmp_path / "out1", tmp_path / "out2"
    assert voxels(one) == voxels(two) and len(voxels(one)) == 6
    assert told(one) == told(two)
    assert [case["case"] for case in told(two)["failed"]] == ["bad"]
    assert [line.split(",")[0] for line in (two / "report.csv").read_text().splitlines()[1:]] == ["a", "b", "c", "bad"]
    assert (one / "preview.png").read_bytes() == (two / "preview.png").read_bytes()


def test_the_slices_of_one_case_by_several_processes_are_those_of_one(nifti, volume, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # as many threads in a worker
    scan, settings = nifti(volume((24, 20, 5), 3)), ["steps=2", "slice_batch=2", "samples=2", "slices=all"]
    for processes in (1, 2):
        run([scan], tmp_path / f"out{processes}", settings, workers=processes)
    one, two = tmp_path / "out1", tmp_path / "out2"
    assert voxels(one) == voxels(two) and len(voxels(one)) == 3
    assert told(one) == told(two)
    assert (one / "preview.png").read_bytes() == (two / "preview.png").read_bytes()


@pytest.mark.parametrize(
    ("fault", "kind", "line"), [(ValueError("sigma"), Failure, "ValueError: sigma"), (InputError("no"), InputError, "no")]
)
def test_what_goes_wrong_with_slices_in_a_worker_is_told_in_one_line(monkeypatch, fault, kind, line):
    def part(*given):
        raise fault

    parts = {"inferer": SimpleNamespace(part=part), "network": torch.nn.Identity(), "device": "cpu"}
    monkeypatch.setattr(workers, "_SESSION", SimpleNamespace(get=parts.get))
    found, error = workers._slices([0, 1])
    assert found is None and type(error) is kind and str(error) == line


def test_a_task_that_works_on_a_case_as_a_whole_says_so():
    session = SimpleNamespace(
        get=lambda name: object(), bundle=SimpleNamespace(name="mine"), run=lambda *arguments: ("ran", *arguments)
    )
    lines = []
    assert _ran(session, ([{"case": "a"}], print, "words"), 4, lines.append) == ("ran", [{"case": "a"}], print, "words")
    assert lines == ["one process: mine works on a case as a whole, --workers shares out several"]


@pytest.fixture
def interrupted(scans, tmp_path, monkeypatch):
    """A folder in which the second of three cases ended the run."""
    calls, call = [], Reconstruct.__call__

    def stops(self, *args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return call(self, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Reconstruct, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            run(scans, tmp_path / "out")
    return tmp_path / "out"


def test_an_interrupted_folder_is_gone_on_with(scans, interrupted, tmp_path):
    with pytest.raises(InputError, match="from an earlier run"):
        run(scans, interrupted)
    before = (interrupted / "a_recon.nii.gz").stat().st_mtime_ns
    records, lines = run(scans, interrupted, skip_existing=True)
    assert lines[0] == "1 case kept, 2 to do" and [record["case"] for record in records] == ["a", "b", "c"]
    assert (interrupted / "a_recon.nii.gz").stat().st_mtime_ns == before
    run(scans, tmp_path / "whole")
    assert told(interrupted)["cases"] == told(tmp_path / "whole")["cases"] and voxels(interrupted) == voxels(tmp_path / "whole")
    assert run(scans, interrupted, skip_existing=True)[1] == ["3 cases kept, 0 to do"]


def test_a_case_whose_file_is_gone_or_whose_scan_is_another_is_done_again(scans, interrupted, nifti, volume):
    run(scans, interrupted, skip_existing=True)
    (interrupted / "b_zero_filled.nii.gz").unlink()
    nifti(volume((24, 20, 2), 7), name="scans/c.nii.gz")
    assert run(scans, interrupted, skip_existing=True)[1][0] == "1 case kept, 2 to do"


def test_results_of_other_settings_or_of_a_torn_report_are_not_taken_for_these(scans, interrupted):
    with pytest.raises(InputError, match="other settings"):
        run(scans, interrupted, ["steps=2", "slices=central:1"], skip_existing=True)
    (interrupted / "report.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        run(scans, interrupted, skip_existing=True)


@pytest.mark.parametrize(
    ("more", "word"), [({"skip_existing": True, "overwrite": True}, "one of them"), ({"workers": 0}, "give 1 to")]
)
def test_options_that_do_not_fit_are_told(scans, tmp_path, more, word):
    with pytest.raises(InputError, match=word):
        run(scans, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_a_worker_that_is_killed_ends_the_run_in_one_line(scans, tmp_path, monkeypatch):
    from concurrent.futures.process import BrokenProcessPool

    def broken(self, *words):
        raise BrokenProcessPool

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor.map", broken)
    with pytest.raises(Failure, match="fewer --workers"):
        run(scans, tmp_path / "out", workers=2)
    with pytest.raises(Failure, match="1 of 1 cases failed: a worker was ended"):
        run(scans[:1], tmp_path / "one", ["steps=1", "slices=all", "slice_batch=1"], workers=2)

"""A session over several cases: whatever goes wrong in one, the others go on, and the report tells of it."""

import json

import numpy as np
import pytest

from diffzoo.imaging.io.cases import cases_at
from diffzoo.tasks.reconstruction.inferer import Reconstruct
from diffzoo.zoo.session import Failure, Session
from diffzoo.zoo.work import run_cases

SHORT = ["steps=1", "slices=central:1"]


@pytest.fixture
def scans(nifti, volume):
    return [nifti(volume((24, 20, 2), seed), name=f"scans/{name}.nii.gz") for seed, name in enumerate("abc")]


@pytest.fixture
def broken(monkeypatch):
    """The second case of a run fails in a way that nobody foresaw."""
    calls, call = [], Reconstruct.__call__

    def fails(self, *args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory\nand more")
        return call(self, *args, **more)

    monkeypatch.setattr(Reconstruct, "__call__", fails)


def test_an_unforeseen_error_fails_its_own_case_alone(scans, broken, tmp_path):
    session = Session("score_mri", settings={"steps": 1, "slices": "central:1"}, device="cpu", output_dir=tmp_path / "out")
    outcome = session.run(cases_at(scans))
    assert [case["case"] for case in outcome.cases] == ["a", "c"]
    [(name, error)] = outcome.failures
    assert name == "b" and isinstance(error, Failure) and str(error) == "RuntimeError: out of memory"
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["failed"] == [{"case": "b", "error": "RuntimeError: out of memory"}] and len(report["cases"]) == 2


def test_the_command_tells_of_it_and_does_not_call_it_bad_input(scans, broken, tmp_path):
    lines = []
    with pytest.raises(Failure, match="1 of 3 cases failed: RuntimeError: out of memory"):
        run_cases("score_mri", scans, tmp_path / "out", SHORT, device="cpu", say=lines.append)
    assert "b: error: RuntimeError: out of memory" in lines and any(line.startswith("c: ") for line in lines)


def test_no_volume_stays_without_its_report(scans, tmp_path, monkeypatch):
    monkeypatch.setattr("diffzoo.tasks.reconstruction.report.Report.facts", lambda self, item: np.zeros(1)[2])
    session = Session("score_mri", settings={"steps": 1, "slices": "central:1"}, device="cpu", output_dir=tmp_path / "out")
    outcome = session.run(cases_at(scans[:1]))
    assert len(outcome.failures) == 1 and not list((tmp_path / "out").glob("*.nii.gz"))

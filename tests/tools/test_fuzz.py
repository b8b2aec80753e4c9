"""Mutated inputs end as done or refused; what the fuzzer calls a problem is one."""

import os
import random
import sys
import time
from pathlib import Path

import pytest

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import CHECKOUT

sys.path.insert(0, str(CHECKOUT.parent / "tools"))
import fuzz
import mutations


def test_sixty_mutations_end_as_they_should(tmp_path):
    ends, problems = fuzz.fuzz(60, 22, tmp_path)
    assert problems == [] and sum(ends.values()) == 60
    assert len({end.split()[0] for end in ends}) == 6 and sum(n for end, n in ends.items() if end.endswith("refused")) > 10


def test_a_mutation_of_each_kind_through_the_command(tmp_path):
    ends, problems = fuzz.fuzz(6, 0, tmp_path, commands=True)
    assert problems == [] and {end.split()[0] for end in ends} == {"datalist", "dicom", "gzip", "hdf5", "nifti", "png"}


def test_a_datalist_that_is_not_mutated_is_done_by_the_command(tmp_path):
    listing = mutations.valid_inputs(tmp_path / "valid")["datalist"]
    (tmp_path / "mutated").mkdir()
    same = pytest.MonkeyPatch()
    same.setattr(mutations, "mutated", lambda rng, content, start=0: content)
    given = listing(random.Random(0), tmp_path / "mutated")
    same.undo()
    assert fuzz.command_outcome(given, tmp_path / "out") == "done"


@pytest.mark.parametrize(
    ("end", "told"),
    [(lambda: sys.exit(3), "exit code 3"), (lambda: os.write(1, b"Traceback"), "exit code 0"), (lambda: sys.exit(2), "refused")],
)
def test_how_a_command_ended(tmp_path, monkeypatch, end, told):
    monkeypatch.setattr(fuzz.cli, "main", end)
    assert fuzz.command_outcome(tmp_path / "scan.nii", tmp_path / "out").startswith(told)


def test_inputs_that_are_not_mutated_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(mutations, "mutated", lambda rng, content, start=0: content)
    ends, problems = fuzz.fuzz(6, 0, tmp_path)
    assert problems == [] and all(end.endswith("done") for end in ends) and len(ends) == 6


def test_a_mutation_is_told_by_its_seed_and_changes_the_content():
    content = bytes(range(256)) * 8
    made = [mutations.mutated(random.Random(f"1 {k}"), content) for k in range(40)]
    assert made == [mutations.mutated(random.Random(f"1 {k}"), content) for k in range(40)]
    assert len(set(made)) == 40 and content not in made


class Stub:
    """A session whose run does as told, with a report of no case."""

    def __init__(self, run) -> None:
        self._run, self.cases, self.most = run, [], 0

    def get(self, name):
        return self

    def expanded(self, cases):
        return cases

    def run(self, cases):
        return self._run()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("one line"), "refused"),
        (InputError("two\nlines"), "message: of 2 lines"),
        (ZeroDivisionError("by nothing"), "unforeseen: ZeroDivisionError: by nothing"),
    ],
)
def test_how_a_mutation_ended(tmp_path, nifti, volume, error, told):
    def fail():
        raise error

    assert fuzz.outcome(Stub(fail), nifti(volume((16, 16, 2))), tmp_path / "out").startswith(told)


def test_hangs_and_half_written_outputs_are_problems(tmp_path, nifti, volume, monkeypatch):
    path, out = nifti(volume((16, 16, 2))), tmp_path / "out"
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    assert fuzz.outcome(Stub(lambda: time.sleep(30)), path, out).startswith("hang")

    def leave():
        Path(out, "scan_recon.nii.gz").write_bytes(b"half")
        raise InputError("refused after all")

    assert fuzz.outcome(Stub(leave), path, out) == "half-written: ['scan_recon.nii.gz']"

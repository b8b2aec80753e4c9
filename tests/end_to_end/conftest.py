"""The installed command, as a process of its own and inside the test's process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import pytest

COMMAND = str(Path(sys.executable).parent / "diffzoo")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float = 0.0

    @property
    def complaint(self) -> str:
        """The one line of an error; fails where there is more or no such line, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in self.out, self.err
        return lines[0]


def process(*words, cwd=None) -> Done:
    started = time.monotonic()
    done = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, env=ENVIRONMENT, cwd=cwd, timeout=1700
    )  # ten times what is needed: no test depends on a clock
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@pytest.fixture(scope="session")
def installed():
    """installed("run", ...) runs the command that stands beside this Python, as a person does."""
    return lambda *words, cwd=None: process(COMMAND, *words, cwd=cwd)


@pytest.fixture(scope="session")
def python():
    """python("-c", ...) runs this Python."""
    return lambda *words, cwd=None: process(sys.executable, *words, cwd=cwd)


@pytest.fixture
def interrupted():
    """interrupted(mark, "run", ...) presses Ctrl-C when the file or pattern `mark` shows that the work has begun."""

    def run(begun, *words) -> Done:
        child = subprocess.Popen(
            [COMMAND, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
        )
        try:
            deadline = time.monotonic() + 120
            while not begun() and child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert child.poll() is None, "it ended before it could be interrupted"
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=600)
        finally:
            child.kill()
        return Done(child.returncode, out, err)

    return run


@pytest.fixture
def command(monkeypatch, capsys):
    """command("run", ...) is the same entry point inside this process: a fifth of a second instead of six."""
    from diffzoo.cli import main

    def run(*words) -> Done:
        monkeypatch.setattr(sys, "argv", ["diffzoo", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        with pytest.raises(SystemExit) as leave:
            main()
        said = capsys.readouterr()
        return Done(int(leave.value.code), said.out, said.err)

    return run


@pytest.fixture(scope="session")
def scan(head, tmp_path_factory) -> Path:
    """Two slices of a head as a NIfTI file."""
    path = tmp_path_factory.mktemp("scan") / "head.nii.gz"
    nib.save(head, path)
    return path


@pytest.fixture(scope="session")
def done(installed, scan, tmp_path_factory):
    """A finished run of the installed command: (Done, output folder)."""
    folder = tmp_path_factory.mktemp("run") / "out"
    words = ("-i", scan, "-o", folder, "--set", "steps=3", "--seed", 7, "--device", "cpu")
    return installed("run", "score_mri", *words), folder

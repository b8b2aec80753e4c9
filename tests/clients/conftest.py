"""Standard clients, each in a virtual environment of its own: made once, in the folder DIFFZOO_CLIENTS or a temporary one.

What installs is heavy: these tests are collected where the command line names this folder, as `make test-clients` does.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from diffzoo.zoo.bundle import CHECKOUT, Bundle
from diffzoo.zoo.pack import pack
from diffzoo.zoo.session import Session
from diffzoo.zoo.verify import Subject
from diffzoo.zoo.verify.samples import file_name, geometries, inputs, write_sample

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TORCH = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
PARTS = ("configs/metadata.json", "configs/inference.yaml", "configs/train.yaml", "models/model.safetensors")
SHIPPED = sorted(p.name for p in CHECKOUT.iterdir() if all((p / part).is_file() for part in PARTS))


def pytest_ignore_collect(collection_path, config):
    """Leaves these tests out of a run of the whole suite."""
    named = [Path(config.invocation_params.dir, word.split("::")[0]).resolve() for word in config.args]
    return None if any(path == HERE or HERE in path.parents for path in named) else True


def pytest_generate_tests(metafunc):
    """Every bundle that is whole: a new one is covered by being there."""
    if "shipped" in metafunc.fixturenames:
        metafunc.parametrize("shipped", SHIPPED, scope="session")


@dataclass(frozen=True)
class Client:
    """A virtual environment with this package and a client, and how to run programs of it."""

    folder: Path

    def run(self, *words, cwd=None, seconds: int = 500) -> str:
        """What a program of the environment prints; its last lines where it fails."""
        command = [str(self.folder / "bin" / words[0]), *map(str, words[1:])]
        told = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))} | {"OMP_NUM_THREADS": "1"}
        told["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=told, start_new_session=True
        ) as started:
            try:
                out, err = started.communicate(timeout=seconds)
            finally:
                with contextlib.suppress(ProcessLookupError):  # what it started itself goes on without it
                    os.killpg(started.pid, signal.SIGKILL)
        assert started.returncode == 0, f"{words[0]} ended with {started.returncode}:\n{(out + err)[-4000:]}"
        return out

    def driver(self, name: str, **told) -> dict:
        """The answer of drivers/NAME.py, a JSON text in its last line, to what it is told."""
        return json.loads(self.run("python", HERE / "drivers" / f"{name}.py", json.dumps(told)).splitlines()[-1])


@pytest.fixture(scope="session")
def client(tmp_path_factory):
    """client(name, wanted, alone) -> Client with `wanted`, and `alone` without what it asks for; skips where pip cannot."""
    home = Path(os.environ.get("DIFFZOO_CLIENTS") or tmp_path_factory.mktemp("clients"))

    def make(name: str, wanted: Sequence[str], alone: Sequence[str] = ()) -> Client:
        folder, asked = home / name, "\n".join([TORCH, *wanted, "alone:", *alone])
        stamp = folder / "installed.txt"
        if not stamp.is_file() or stamp.read_text() != asked:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            for words in ([TORCH], ["--editable", str(ROOT), *wanted], ["--no-deps", *alone] if alone else []):
                if words:
                    _install(folder, name, words)
            stamp.write_text(asked)
        return Client(folder)

    return make


def _install(folder: Path, name: str, words: Sequence[str]) -> None:
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run([*pip, *words], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-300:]]
        pytest.skip(f"pip cannot install {name} here: {errors[0]}")


@dataclass(frozen=True)
class Case:
    """A bundle as it is published, with parameters that make it quick, its small input, and what `diffzoo run` makes of it."""

    root: Path
    inputs: dict[str, str]  # paths by the name of the input: "image", and "moving" of a pair
    expected: dict[str, tuple[np.ndarray, np.ndarray]]  # volumes by name: voxels and affine, the bundle's main one first
    metadata: dict


@pytest.fixture(scope="session")
def packed(shipped, tmp_path_factory) -> Path:
    """The bundle as `diffzoo pack` publishes it, unpacked."""
    folder = tmp_path_factory.mktemp(f"pack_{shipped}")
    with zipfile.ZipFile(pack(CHECKOUT / shipped, folder)) as archive:
        archive.extractall(folder)
    return folder / shipped


@pytest.fixture(scope="session")
def case(packed, tmp_path_factory) -> Case:
    """One small case of the kind that a bundle declares."""
    import nibabel as nib

    folder = tmp_path_factory.mktemp(f"case_{packed.name}")
    subject = Subject(packed, folder / "work")
    settings = subject.short(["inference"])
    config = packed / "configs" / "inference.json"
    settings |= {"modality": "t1"} if "modality" in subject.bundle.parameters() else {}  # an array has no name to tell it
    config.write_text(json.dumps(json.loads(config.read_text()) | settings | {"device_name": "cpu"}))
    scan = folder / file_name(subject, "scan")
    write_sample(scan, subject, geometries(subject)["plain"])
    named = dict(zip(subject.bundle.task.images, map(str, inputs(subject, scan)), strict=True))
    session = Session(Bundle(CHECKOUT / packed.name), settings=settings, device="cpu", output_dir=folder / "out")
    stem = scan.name.split(".")[0]
    [record] = session.run([named | {"case": stem}]).cases
    images = {name.split(".")[0].removeprefix(f"{stem}_"): nib.load(folder / "out" / name) for name in record["outputs"]}
    volumes = {k: (np.asarray(i.dataobj), i.affine) for k, i in images.items() if i.ndim == 3}  # no fields: clients send images
    return Case(packed, named, volumes, subject.metadata)

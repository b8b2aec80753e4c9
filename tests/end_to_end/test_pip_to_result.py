"""From the wheel alone to a result, over loopback: an environment of its own, a server of a release, and no checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nibabel as nib
import pytest
from toy_zoo import running

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import release  # noqa: E402
import serve  # noqa: E402
from diffzoo.zoo.bundle import find  # noqa: E402
from diffzoo.zoo.index import new_key  # noqa: E402

WORDS = ("--set", "slices=central:1", "--set", "steps=3", "--device", "cpu")


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pip") / "dist"
    new_key(folder.parent / "key.pem")
    release.release(folder, [folder.parent / "key.pem"], [ROOT / "bundles" / "score_mri"], ["--no-build-isolation"])
    return folder


@pytest.fixture(scope="module")
def environment(dist) -> Path:
    """The `diffzoo` of an environment with the wheel; what it depends on is borrowed from this Python."""
    folder = dist.parent / "environment"
    venv.create(folder, with_pip=True)
    place = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (place / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    words = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*words, next(dist.glob("*.whl"))], check=True, capture_output=True, env=clean(dist))
    return folder / "bin" / "diffzoo"


def clean(dist: Path, **more: str) -> dict[str, str]:
    """An environment that knows no checkout and has a home of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DIFFZOO"))}
    return kept | {"DIFFZOO_HOME": str(dist.parent / "home"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more


def run(command: Path, *words, dist: Path, **more: str) -> subprocess.CompletedProcess:
    line = [str(word) for word in (command, *words)]
    return subprocess.run(line, capture_output=True, text=True, env=clean(dist, **more), cwd=dist.parent, timeout=1200)


def test_the_wheel_alone_gets_a_bundle_and_gives_a_result(dist, environment, scan):
    out, scan_out = dist.parent / "out", nib.load(scan)
    where = run(environment.with_name("python"), "-c", "import diffzoo; print(diffzoo.__file__)", dist=dist)
    assert str(dist.parent / "environment") in where.stdout, where.stderr
    assert run(environment, "--version", dist=dist).stdout.startswith("diffzoo ")
    lost = run(environment, "run", "score_mri", "-i", scan, "-o", out, dist=dist)
    assert lost.returncode == 2 and "diffzoo index set" in lost.stderr and len(lost.stderr.splitlines()) == 1
    with running(serve.Server(dist)) as server:
        offered = run(environment, "list", dist=dist, DIFFZOO_INDEX=server.url)
        assert offered.returncode == 0 and "in the index" in offered.stdout, offered.stderr
        told = run(environment, "run", "score_mri", "-i", scan, "-o", out, *WORDS, dist=dist, DIFFZOO_INDEX=server.url)
        assert told.returncode == 0, told.stderr
        plan = told.stdout.splitlines()[0]
        named = f"score_mri {find('score_mri').metadata['version']}"
        assert all(word in plan for word in (named, "MiB", "signed by", "community", server.url))
    made = nib.load(out / "head_recon.nii.gz")
    assert made.shape[:2] == scan_out.shape[:2] and (out / "preview.png").is_file()
    again = run(
        environment, "run", "score_mri", "-i", scan, "-o", out, *WORDS, "--overwrite", dist=dist, DIFFZOO_INDEX=server.url
    )
    assert again.returncode == 0, again.stderr  # the server has gone
    assert "signed by" not in again.stdout

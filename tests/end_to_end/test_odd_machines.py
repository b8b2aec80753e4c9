"""The installed command for a user without a name and a home, in the C locale, and names of files that are hard to write."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from anatomy import anatomy

from diffzoo.imaging.io.files import LONGEST_NAME
from diffzoo.zoo.bundle import CHECKOUT, find

COMMAND = str(Path(sys.executable).parent / "diffzoo")
NOBODY = 54321


@pytest.fixture
def anyones():
    """A folder that everybody may enter and write to; that of pytest is set to 0700 again by each run beside this one."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


somebody = pytest.mark.skipif(
    not shutil.which("setpriv") or os.getuid() != 0, reason="only root, by setpriv, becomes somebody else"
)


def as_nobody(words, folder, **environment):
    """The command run by a user without an entry in the passwd file."""
    environment |= {"PATH": os.environ["PATH"], "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    if package := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = package
    becoming = ["setpriv", "--reuid", str(NOBODY), "--clear-groups", COMMAND]
    return subprocess.run([*becoming, *map(str, words)], env=environment, cwd=folder, capture_output=True, timeout=1200)


@somebody
def test_a_user_without_name_and_home_runs_a_bundle(anyones, nifti):
    scan = anyones / "ümläute" / "scän 1.nii.gz"
    scan.parent.mkdir(mode=0o755)
    shutil.copyfile(nifti(anatomy((40, 40, 1))), scan)
    words = ["run", "score_mri", "-i", scan, "-o", anyones / "öffen", "--set", "steps=1", "--device", "cpu"]
    done = as_nobody(words, anyones)
    assert done.returncode == 0, done.stderr.decode()
    assert (anyones / "öffen" / "scän 1_recon.nii.gz").is_file()


@somebody
def test_an_installed_bundle_runs_from_a_cache_that_is_read_only(anyones, nifti):
    home, version = anyones / "home", find("score_mri").metadata["version"]
    shutil.copytree(CHECKOUT / "score_mri", home / ".cache" / "diffzoo" / "bundles" / "score_mri" / version / "score_mri")
    scan = anyones / "scan.nii.gz"
    shutil.copyfile(nifti(anatomy((40, 40, 1))), scan)
    for path in [home, *home.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    words = ["run", f"score_mri=={version}", "--trust", "-i", scan, "-o", anyones / "out", "--set", "steps=1", "--device", "cpu"]
    done = as_nobody(words, anyones, HOME=str(home))
    assert done.returncode == 0, done.stderr.decode()
    assert (anyones / "out" / "scan_recon.nii.gz").is_file()
    done = as_nobody(["remove", f"score_mri=={version}"], anyones, HOME=str(home))
    assert done.returncode == 2 and len(done.stderr.decode().strip().splitlines()) == 1, done.stderr.decode()
    assert (home / ".cache" / "diffzoo" / "bundles" / "score_mri" / version / "score_mri").is_dir()


def test_names_that_are_long_or_no_text_get_names_that_can_be_written(tmp_path, nifti):
    scan = nifti(anatomy((40, 40, 1)), name="scan.nii")
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    for name in (b"lat\xe4n.nii", b"new\nline.nii", b"x" * 251 + b".nii"):
        shutil.copy(scan, os.path.join(folder, name))
    words = [COMMAND, "run", "score_mri", "-i", tmp_path / "in", "-o", tmp_path / "out", "--set", "steps=1", "--device", "cpu"]
    done = subprocess.run(list(map(str, words)), capture_output=True, timeout=1200)
    assert done.returncode == 0, done.stderr.decode()
    cases = json.loads((tmp_path / "out" / "report.json").read_text())["cases"]
    assert [case["case"] for case in cases] == ["latän", "new_line", "x" * LONGEST_NAME]
    assert [os.fsencode(case["input"]) for case in cases] == [b"lat\xe4n.nii", b"new\nline.nii", b"x" * 251 + b".nii"]
    assert all((tmp_path / "out" / name).is_file() for case in cases for name in case["outputs"])

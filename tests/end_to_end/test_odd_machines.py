"""The installed command for a user without a name and a home, in the C locale, on names with umlauts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from anatomy import anatomy

COMMAND = str(Path(sys.executable).parent / "diffzoo")
NOBODY = 54321


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become somebody else")
def test_a_user_without_name_and_home_runs_a_bundle(tmp_path, nifti):
    scan = nifti(anatomy((40, 40, 1)), name="ümläute/scän 1.nii.gz")
    folder = tmp_path / "öffen"
    folder.mkdir()
    for path in (*reversed(tmp_path.parents), tmp_path, scan.parent, folder):
        if path.stat().st_uid == 0 and len(path.parts) > 2:
            path.chmod(0o777)
    words = [COMMAND, "run", "score_mri", "-i", scan, "-o", folder / "out", "--set", "steps=1", "--device", "cpu"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    if package := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = package
    try:
        done = subprocess.run(list(map(str, words)), user=NOBODY, env=environment, cwd=folder, capture_output=True, timeout=1200)
    except PermissionError:
        pytest.skip("this installation cannot be read by others")
    if b"Permission denied" in done.stderr:
        pytest.skip("this installation cannot be read by others")
    assert done.returncode == 0, done.stderr.decode()
    assert (folder / "out" / "scän 1_recon.nii.gz").is_file()

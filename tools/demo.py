"""Reconstructs a brain from a quarter of its k-space: the MNI152 template that ships with nilearn, central slices.

The prior never saw this brain: the ICBM 152 templates are left out of its training.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import nilearn.datasets

OUTPUT = Path("out/demo")


def main() -> int:
    """Writes the template as a NIfTI file and runs the command that a person would run on it."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    head = OUTPUT / "mni152_head.nii.gz"
    # the file as nilearn packs it, 1 mm; its loader would resample to 2 mm
    shutil.copyfile(next(Path(nilearn.datasets.__file__).parent.glob("data/*t1*.nii.gz")), head)
    command = ["run", "score_mri", "-i", str(head), "-o", str(OUTPUT), "--set", "slices=central:8", "--overwrite"]
    print("$ diffzoo " + " ".join(command), flush=True)
    code = subprocess.run([str(Path(sys.executable).with_name("diffzoo")), *command]).returncode
    if code == 0:
        print(f"Look at {OUTPUT / 'preview.png'}: the fully sampled brain, zero filling, the reconstruction and its error.")
    return code


if __name__ == "__main__":
    sys.exit(main())

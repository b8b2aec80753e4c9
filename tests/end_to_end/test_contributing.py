"""CONTRIBUTING.md as a newcomer walks it: every command of its fenced blocks, in order, in a clone of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SHORTER = {  # heavy commands, and the options of the page that shorten them
    "make test": "make test PYTEST_ADDOPTS=tests/zoo/test_metadata.py",
    "diffzoo new my_mri --task reconstruct_mri": "diffzoo new my_mri --task reconstruct_mri --steps 20",
    "diffzoo simulate MR -o runs/data": "diffzoo simulate MR -o runs/data --cases 3",
}
QUICK_FIRST = "diffzoo verify bundles/my_mri"  # in full when the page comes to it again

# One process walks, so that torch is imported once: programs of the repository run in it, all else in a shell.
WALKER = """
import json, os, runpy, shlex, subprocess, sys
import diffzoo
from diffzoo.cli import main

assert diffzoo.__file__.startswith(os.getcwd()), diffzoo.__file__
sys.path.insert(0, "tools")
for line in json.load(sys.stdin):
    print("$", line, flush=True)
    words, code = shlex.split(line), 0
    sys.argv = words
    try:
        if words[0] == "diffzoo":
            main()
        elif words[0] == "python":
            sys.argv = words[1:]
            runpy.run_path(words[1], run_name="__main__")
        else:
            code = subprocess.run(line, shell=True).returncode
    except SystemExit as leave:
        code = leave.code or 0
    if code:
        sys.exit(f"`{line}` ended with {code}")
"""


def commands(page: str) -> list[str]:
    """The lines of the shell blocks of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def run(*words, cwd, **more) -> str:
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, timeout=1700, **more)
    assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """The files of this working tree as a repository of their own."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout, or git is not installed")
    folder = tmp_path_factory.mktemp("contributing") / "origin"
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        run("git", *words, cwd=folder, env=environment())
    return folder


def environment() -> dict[str, str]:
    """Of a newcomer who has told git their name."""
    told = {f"GIT_{who}_{what}": "newcomer@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**os.environ, **told, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def prepared(clone: Path) -> None:
    """Stands in for the installation by `make`: the environment of this Python, with what `make` leaves when it is done."""
    (clone / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("."):
            (clone / ".venv" / path.name).symlink_to(path)
    for stamp in (".torch", ".demo", ".test"):
        (clone / ".venv" / stamp).touch()
    assert "pip" not in run("make", "--dry-run", "test", "lint", cwd=clone), "make would install into this environment"


def shortened(lines: list[str]) -> list[str]:
    first = lines.index(QUICK_FIRST)
    return [f"{line} --quick" if k == first else SHORTER.get(line, line) for k, line in enumerate(lines)]


def test_every_command_of_the_page_is_in_a_block_that_is_walked():
    walked = commands(PAGE)
    other = re.sub(r"^```sh\n.*?^```", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in re.findall(r"^```\n(.*?)^```", other, re.DOTALL | re.MULTILINE) for line in block.splitlines()]
    assert len(walked) > 15
    assert [line for line in lines if re.match(r"\$|(diffzoo|python|make|git|pytest|pip) ", line)] == []
    spoken = [words for words in re.findall(r"`([^`\n]+)`", other) if re.match(r"(make|git|pytest|pip) ", words)]
    assert [words for words in spoken if not any(line.startswith(words) for line in walked)] == []


def test_what_shortens_a_command_is_told_on_the_page():
    assert set(SHORTER) | {QUICK_FIRST} <= set(commands(PAGE)) and commands(PAGE).count(QUICK_FIRST) == 2
    for words in ("--quick", "--steps 20", "--cases 3", "PYTEST_ADDOPTS"):
        assert words in PAGE


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="make needs a virtual environment to stand in for its own")
def test_a_newcomer_walks_from_a_clone_to_a_branch_that_can_be_merged(origin, tmp_path):
    clone, into, *rest = shortened(commands(PAGE))
    assert clone == "git clone <this repository> diffzoo" and into == "cd diffzoo"
    run(*clone.replace("<this repository>", str(origin)).split(), cwd=tmp_path)
    here = tmp_path / "diffzoo"
    prepared(here)
    told = environment() | {"PYTHONPATH": str(here / "common"), "DIFFZOO_HOME": str(tmp_path / "home")}
    said = run(sys.executable, "-c", WALKER, cwd=here, env=told, input=json.dumps(rest))
    assert [line[2:] for line in said.splitlines() if line.startswith("$ ")] == rest
    assert "my_mri" in run("git", "branch", "--list", "my_mri", cwd=origin)
    sent = run("git", "ls-tree", "-r", "--name-only", "my_mri", "bundles/my_mri", cwd=origin).split()
    assert {f"bundles/my_mri/{name}" for name in ("models/model.safetensors", "docs/README.md", "docs/recipe.json")} <= set(sent)
    bundle = here / "bundles" / "my_mri"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    results = json.loads((bundle / "docs" / "results.json").read_text())
    assert metadata["eval_metrics"]["command"] == "python tools/train_zoo.py my_mri --only evaluate"
    assert metadata["training_data"]["split"]["train"]["count"] == 1  # of the three simulated cases, not the scaffold's twelve
    assert metadata["headline"].startswith(f"PSNR {results['evaluations']['test']['mean']['recon']['psnr']:.1f} dB")
    assert metadata["headline"] in (here / "README.md").read_text()
    assert [path.name for path in (here / "out").glob("*.zip")] == ["my_mri_v0.1.0.zip"]

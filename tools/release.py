"""Makes a folder to publish: the wheel, a pack of each bundle, the signed index, and a catalogue page.

python tools/release.py dist --key KEYFILE      python tools/build_index.py --new-key KEYFILE makes a key
python tools/serve.py dist                      serves it; or put the folder on any web server as it is

Packs of earlier versions stay in the folder and in the index.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import build_catalogue
import build_index
from diffzoo.errors import InputError
from diffzoo.zoo.pack import pack

ROOT = Path(__file__).resolve().parents[1]


def wheel(folder: Path, more: Sequence[str] = ()) -> Path:
    """Builds the wheel of this checkout into the folder; InputError where pip cannot."""
    with tempfile.TemporaryDirectory() as copy:  # else setuptools leaves a build folder, and takes from it what is gone by now
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        shutil.copytree(ROOT / "common", Path(copy, "common"), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *more, "--wheel-dir", str(folder), copy]
        done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"pip made no wheel: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}")
    return max(folder.glob("diffzoo-*.whl"), key=lambda path: path.stat().st_mtime)


def release(folder: Path, keys: Sequence[Path], bundles: Sequence[Path], more: Sequence[str] = ()) -> list[str]:
    """Fills the folder and returns a line on each part; more: further options of pip wheel."""
    if not keys:
        raise InputError("a release is signed: give --key KEYFILE (python tools/build_index.py --new-key KEYFILE makes one)")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [str(wheel(folder, more)), *(str(pack(root, folder)) for root in bundles)]
    lines.append(build_index.build(folder, keys))
    return [*lines, str(build_catalogue.build(folder))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    parser.add_argument("--key", action="append", type=Path, default=[], help="a private key to sign with; repeats")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="bundles to pack; all by default")
    parser.add_argument("--pip", action="append", default=[], metavar="OPTION", help="of pip wheel, such as --no-build-isolation")
    options = parser.parse_args(arguments)
    roots = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/metadata.json"))
    try:
        if unknown := set(options.only or ()) - {root.name for root in roots}:
            raise InputError(f"no bundle {sorted(unknown)[0]!r}; there are {', '.join(root.name for root in roots)}")
        chosen = [root for root in roots if not options.only or root.name in options.only]
        print("\n".join(release(options.folder, options.key, chosen, options.pip)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

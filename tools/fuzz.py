"""Mutates valid inputs and hands them to `diffzoo run` and, those that are datalists, to `diffzoo evaluate`.

python tools/fuzz.py --count 1000 --seed 0              what the commands do with a case, in one process: minutes
python tools/fuzz.py --count 1000 --seed 0 --commands   the commands, each in a process that is forked: half an hour

Bits are flipped, files cut, header fields and sizes overwritten, of NIfTI, DICOM, HDF5, PNG and datalists. A mutation ends well
if its case is done (exit code 0) or refused in one line (2). Told are all others: unforeseen errors, hangs, half-written outputs.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from diffzoo import cli
from diffzoo.errors import InputError
from diffzoo.imaging.io.cases import cases_at
from diffzoo.imaging.io.files import case_names
from diffzoo.imaging.io.kspace import write_simulated
from diffzoo.imaging.phantoms.volumes import sample
from diffzoo.training.datalist import entries
from diffzoo.zoo.session import Session

SIZE = (40, 36, 3)
HEADER = 400  # bytes at the beginning that are mutated more often
SECONDS = 60  # for one mutation; more is a hang
SUMMARIES = ("report.json", "report.csv", "preview.png", "metrics.json", "metrics.csv", "metrics.png", "table.md")
SETTINGS = {"steps": 1, "slices": "central:1", "center_fraction": 0.2}
VALUES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
FLOATS = (float("nan"), float("inf"), -1e30, 1e-30, -1.0, 0.0)


def main(words: list[str] | None = None) -> int:
    """Runs the mutations, prints what went wrong, and returns 1 where anything did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", action="store_true", help="run the command itself and read its exit code")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as work:
        ends, problems = fuzz(options.count, options.seed, Path(work), options.commands)
    for problem in problems:
        print(problem)
    counts = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    print(f"{options.count} mutations with seed {options.seed}: {counts}; {len(problems)} problems")
    return 1 if problems else 0


def fuzz(count: int, seed: int, work: Path, commands: bool = False) -> tuple[Counter, list[str]]:
    """How `count` mutations ended, and a line for each that ended in no way it should; work: a folder for inputs and outputs."""
    torch.set_num_threads(1)  # a forked process cannot use threads that were begun before it
    makers = valid_inputs(work / "valid")
    judge = command_outcome if commands else _in_process(work / "out")
    ends, problems = Counter(), []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        kind = sorted(makers)[number % len(makers)]
        place = work / "mutated"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        given = makers[kind](rng, place)
        end = judge(given, work / "out")
        ends[f"{kind} {end.split(':')[0]}"] += 1
        if not end.startswith(("done", "refused")):
            problems.append(f"{kind} {number} (seed {seed}): {end}")
    return ends, problems


def _in_process(out: Path) -> Callable[[Path, Path], str]:
    """`outcome` with one session for all inputs."""
    session = Session("score_mri", settings=SETTINGS, device="cpu", output_dir=out)
    session.get("report").most = 0  # no picture: it would take most of the time
    return partial(outcome, session)


def command_outcome(given: Path, out: Path) -> str:
    """How the command ended on one input, as `outcome`: told by its exit code, its words and what it left."""
    shutil.rmtree(out, ignore_errors=True)
    words, log = _command(given, out), out.with_suffix(".log")
    child = multiprocessing.get_context("fork").Process(target=_run_command, args=(words, log))
    child.start()
    child.join(SECONDS)
    if child.is_alive():
        child.kill()
        return f"hang: more than {SECONDS} s"
    text = log.read_text(encoding="utf-8", errors="replace")
    if child.exitcode not in (0, 2) or "Traceback" in text:
        return f"exit code {child.exitcode}: {text.strip()[-200:]}"
    report = out / "report.json"
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"] if report.is_file() else []
    return _leftovers(out, cases, SUMMARIES) or ("refused" if child.exitcode else "done")


def _command(given: Path, out: Path) -> list[str]:
    job = ["evaluate", "score_mri", "--data"] if given.suffix == ".json" else ["run", "score_mri", "-i"]
    settings = SETTINGS | ({"tv_weight": "null"} if given.suffix == ".json" else {})
    return [*job, str(given), "-o", str(out), "--device", "cpu", *(f"--set={name}={value}" for name, value in settings.items())]


def _run_command(words: list[str], log: Path) -> None:
    """The command in this process, which it ends; what it says goes into a file."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.argv = ["diffzoo", *words]
    cli.main()


def outcome(session: Session, given: Path, out: Path) -> str:
    """How one input ended: "done", "refused", or with a colon what went wrong."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    report = session.get("report")
    report.cases, report.failed, report.rows = [], [], []
    try:
        with at_most(SECONDS):
            cases = _listed(given) if given.suffix == ".json" else cases_at(given)
            result = session.run(session.expanded(cases))
    except InputError as error:
        return _one_line(error) or _leftovers(out, []) or "refused"
    except TimeoutError:
        return f"hang: more than {SECONDS} s"
    except Exception as error:  # what the command would show as a traceback
        return f"unforeseen: {type(error).__name__}: {str(error)[:200]}"
    unforeseen = [error for _, error in result.failures if not isinstance(error, InputError)]
    if unforeseen:
        return f"unforeseen: {unforeseen[0]}"
    lines = "".join(_one_line(error) for _, error in result.failures)
    return lines or _leftovers(out, report.cases) or ("refused" if result.failures else "done")


def _listed(listing: Path) -> list[dict]:
    listed = entries(str(listing), "test")
    return [entry | {"case": name} for entry, name in zip(listed, case_names([e["image"] for e in listed]), strict=True)]


def _one_line(error: Exception) -> str:
    text = str(error)
    return "" if text and "\n" not in text else f"message: of {len(text.splitlines())} lines: {text[:100]!r}"


def _leftovers(out: Path, cases: list[Mapping], summaries: Collection[str] = ()) -> str:
    """What is in the output folder and belongs neither to a finished case nor to the summaries that a command may write."""
    known = {name for case in cases for name in case["outputs"]} | ({"report.json", "report.csv"} if cases else set())
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return "" if names - set(summaries) == known - set(summaries) else f"half-written: {sorted(names ^ known)}"


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in a block that takes longer."""

    def ring(*_) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# valid inputs, and how each kind is mutated

Maker = Callable[[random.Random, Path], Path]


def valid_inputs(folder: Path) -> dict[str, Maker]:
    """By kind a function (random numbers, folder) -> a mutated input in that folder; the valid ones are written into `folder`."""
    folder.mkdir(parents=True)
    volume = 900 * sample("slab", SIZE, np.eye(4)) / np.max(sample("slab", SIZE, np.eye(4)))
    nib.save(nib.Nifti1Image(volume.astype(np.float32), np.diag([1.0, 1.1, 4.0, 1.0])), folder / "scan.nii")
    Image.fromarray((volume[..., 1] / 900 * 255).astype(np.uint8)).save(folder / "scan.png")
    write_simulated(folder / "scan.h5", np.moveaxis(volume, 2, 0) / 900, coils=2, noise_sd=0.01)
    series(folder / "series", volume)
    words = "text of no meaning, so that not every mutation is of the structure. " * 6
    listing = {"description": words, "test": [{"image": "../valid/scan.nii", "subject": "a"}, {"image": "../valid/scan.png"}]}
    (folder / "list.json").write_text(json.dumps(listing), encoding="utf-8")
    kinds = {"nifti": "scan.nii", "png": "scan.png", "hdf5": "scan.h5", "datalist": "list.json"}
    contents = {kind: ((folder / name).read_bytes(), name) for kind, name in kinds.items()}
    makers = {kind: _file_maker(*content) for kind, content in contents.items()}
    return makers | {"gzip": _gzip_maker(contents["nifti"][0]), "dicom": _series_maker(folder / "series")}


def series(folder: Path, volume: np.ndarray) -> None:
    """Writes a volume [X, Y, Z] as an uncompressed MR series."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir()
    for k in range(volume.shape[2]):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID, data.file_meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.3.{k + 1}"
        data.SOPClassUID, data.SeriesInstanceUID, data.Modality = MRImageStorage, "1.2.3", "MR"
        data.PatientID, data.InstanceNumber = "nobody", k + 1
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-20, -18, 4 * k]
        data.PixelSpacing, data.SliceThickness = [1.1, 1.0], 4
        data.Columns, data.Rows = volume.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelData = volume[..., k].T.astype(np.uint16).tobytes()
        data.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def _file_maker(content: bytes, name: str) -> Maker:
    def make(rng: random.Random, place: Path) -> Path:
        data = mutated(rng, content)
        if name.endswith(".png") and rng.random() < 0.5:
            data = _with_checksum(data)
        (place / name).write_bytes(data)
        return place / name

    return make


def _gzip_maker(content: bytes) -> Maker:
    def make(rng: random.Random, place: Path) -> Path:
        inner = rng.random() < 0.5
        data = gzip.compress(mutated(rng, content) if inner else content, mtime=0)
        (place / "scan.nii.gz").write_bytes(data if inner else mutated(rng, data))
        return place / "scan.nii.gz"

    return make


def _series_maker(folder: Path) -> Maker:
    def make(rng: random.Random, place: Path) -> Path:
        shutil.copytree(folder, place / "series")
        changed = rng.choice(sorted((place / "series").iterdir()))
        changed.write_bytes(mutated(rng, changed.read_bytes(), start=132))
        return place / "series"

    return make


def mutated(rng: random.Random, content: bytes, start: int = 0) -> bytes:
    """The content with one to three mutations, most of them in its header, which ends `HEADER` bytes after `start`."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        if data:
            rng.choice((_flip, _flip, _cut, _field, _field, _field, _float, _chunk))(rng, data, start)
    return bytes(data)


def _place(rng: random.Random, data: bytearray, start: int) -> int:
    end = len(data) if rng.random() < 0.25 else min(len(data), start + HEADER)
    return rng.randrange(min(start, end - 1), end)


def _flip(rng: random.Random, data: bytearray, start: int) -> None:
    for _ in range(rng.randint(1, 8)):
        data[_place(rng, data, start)] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, data: bytearray, start: int) -> None:
    del data[rng.choice((_place(rng, data, start), len(data) - rng.randint(1, 64), rng.randrange(len(data)))) :]


def _field(rng: random.Random, data: bytearray, start: int) -> None:
    """A whole number of 1, 2 or 4 bytes: sizes, codes, offsets, lengths."""
    place, width = _place(rng, data, start), rng.choice((1, 2, 2, 4))
    value = rng.choice((*VALUES, rng.getrandbits(32))) & (256**width - 1)
    data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))[: max(0, len(data) - place)]


def _float(rng: random.Random, data: bytearray, start: int) -> None:
    place = _place(rng, data, start) // 4 * 4
    data[place : place + 4] = struct.pack("<f", rng.choice(FLOATS))[: max(0, len(data) - place)]


def _chunk(rng: random.Random, data: bytearray, start: int) -> None:
    """Bytes that are there twice, or not at all."""
    place, length = _place(rng, data, start), rng.randint(1, 64)
    if rng.random() < 0.5:
        data[place:place] = data[place : place + length]
    else:
        del data[place : place + length]


def _with_checksum(data: bytes) -> bytes:
    """A PNG whose first chunk has the checksum of what it now holds, so that its sizes are believed."""
    return data[:29] + zlib.crc32(data[12:29]).to_bytes(4, "big") + data[33:] if len(data) > 33 else data


if __name__ == "__main__":
    sys.exit(main())

"""Seconds and peak memory of a bundle on a whole volume, and the sampler's own share of the time.

python tools/benchmark.py head [--slices 16]   fp32 against bfloat16, default against published; each in a process of its own
python tools/benchmark.py overhead             time of each sampler beside the network, on one slice
python tools/benchmark.py whole --scan FILE [--set steps=3 ...] [--workers 2] [--times 3]
    a whole scan of a person, nothing scaled up; for a pair --scan twice; the first of several times includes imports
Each takes --bundle NAME (default: score_mri).

The volume is a phantom: a head of 193 x 229 x 193 voxels, for CT a chest of 256 x 256 x 137. With --slices fewer are computed and
the time is scaled up; the published setting computes one slice at a tenth of its steps, which cost the same each, and is scaled
up likewise.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VOLUMES = {"MR": (193, 229, 193), "CT": (256, 256, 137)}
PUBLISHED_STEPS = 100  # of the published setting, the fewest that it takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("head", "overhead", "whole", "one"))
    parser.add_argument("--bundle", default="score_mri")
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--autocast", default="null")
    parser.add_argument("--config")
    parser.add_argument("--scan", action="append", default=[])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    {"head": head, "overhead": overhead, "whole": whole, "one": one}[options.what](options)


def phantom(shape: tuple[int, int, int], modality: str):
    """A smooth ellipsoid with shells and structure, float32: a magnitude, or CT numbers in HU."""
    import numpy as np

    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    r = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    tissue = 0.6 + 0.2 * np.sin(14 * x) * np.sin(11 * y) * np.cos(9 * z)
    magnitude = np.where(r < 0.85, tissue, np.where(r < 1, 0.9, 0.0)).astype(np.float32) * 1000
    return 1.6 * magnitude - 1000 if modality == "CT" else magnitude


def modality_of(name: str) -> str:
    """What a bundle takes, as its metadata tells it."""
    from diffzoo.zoo.bundle import find

    return find(name).metadata["valid_range"]["modality"]


def head(options: argparse.Namespace) -> None:
    """Each setting in its own process, so that peak memory is its own."""
    settings = [
        ("default, fp32", []),
        ("default, bfloat16", ["--autocast", "bfloat16"]),
        ("published, fp32", ["--config", "published"]),
    ]
    shape, threads = VOLUMES[modality_of(options.bundle)], os.environ.get("OMP_NUM_THREADS", "unset")
    print(f"{shape} voxels, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}")
    for label, extra in settings:
        command = [sys.executable, __file__, "one", "--bundle", options.bundle, "--slices", str(options.slices), *extra]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            sys.exit(answer.stderr)
        row = json.loads(answer.stdout.splitlines()[-1])
        print(
            f"{label:18} {row['seconds']:8.0f} s a head ({row['per_slice']:.2f} s and {row['calls']:.0f} calls a slice), "
            f"start {row['start']:.1f} s, peak memory {row['peak_gib']:.2f} GiB, expected {row['expected_gib']:.2f} GiB",
            flush=True,
        )


def whole(options: argparse.Namespace) -> None:
    """The command `diffzoo run` on a scan or a pair, in this process and its workers."""
    for _ in range(options.times):
        started, worked = time.perf_counter(), sum(os.times()[:4])
        from diffzoo.zoo.work import run_cases

        with tempfile.TemporaryDirectory() as folder:
            more = {"device": "cpu", "workers": options.workers}
            record = run_cases(options.bundle, options.scan, folder, options.settings, options.config, **more)[0]
        seconds, worked = time.perf_counter() - started, sum(os.times()[:4]) - worked
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{record['shape']} voxels of {record['spacing_mm']} mm, {os.cpu_count()} cores: {seconds:.1f} s,", end=" ")
        print(f"{worked:.2f} s of processors, {record['network_calls']:g} network calls a slice, peak memory {peak:.2f} GiB")


def one(options: argparse.Namespace) -> None:
    """One setting: prints a line of JSON."""
    started = time.perf_counter()
    import nibabel
    import numpy as np

    from diffzoo.zoo.session import Session

    published, modality = options.config == "published", modality_of(options.bundle)
    shape = VOLUMES[modality]
    count = 1 if published else options.slices
    values = {"slices": f"central:{count}", "autocast": None if options.autocast == "null" else options.autocast}
    if published:
        values["steps"] = PUBLISHED_STEPS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.nii.gz"
        nibabel.save(nibabel.Nifti1Image(phantom(shape, modality), np.eye(4)), path)
        configs = ["inference", *([options.config] if options.config else [])]
        session = Session(options.bundle, configs, values, "cpu", folder)
        steps = session.bundle.parameters(configs)["steps"].default
        session.get("evaluator")
        start = time.perf_counter() - started
        record = session.run([{"image": str(path), "case": "head"}]).cases[0]
    inferer = session.get("inferer")
    more = steps / PUBLISHED_STEPS if published else 1
    scale = more / count
    per_slice = inferer.stats["seconds"] * scale
    report = {
        "per_slice": per_slice,
        "seconds": per_slice * shape[2] + record["seconds"] - inferer.stats["seconds"],
        "calls": record["network_calls"] * more,
        "start": start,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "expected_gib": inferer.memory(shape) / 2**30,
    }
    print(json.dumps(report))


def overhead(options: argparse.Namespace) -> None:
    """Each sampler with the network and with a denoiser that costs nothing."""
    import torch

    from diffzoo.diffusion.denoiser import Denoiser
    from diffzoo.diffusion.noise import Gaussian
    from diffzoo.zoo.session import Session

    session = Session(options.bundle, device="cpu")
    sigmas, x = session.get("solver").sigmas, torch.rand(1, 1, *VOLUMES[modality_of(options.bundle)][:2])
    network = session.get("network")
    condition = {"concat": x} if getattr(network, "concat_channels", 0) else {}
    denoise = Denoiser(network, session.get("precond")).bind(**condition)
    with torch.no_grad():
        for name, sampler in session.get("samplers").items():
            full = _seconds(lambda s=sampler: s(denoise, x, sigmas, noise=Gaussian([0])), 2)
            bare = _seconds(lambda s=sampler: s(lambda v, sigma: 0.9 * v, x, sigmas, noise=Gaussian([0])), 5)
            print(
                f"{name:20} {full:6.2f} s, of it outside the network {1000 * bare:5.1f} ms ({100 * bare / full:.2f} %)",
                flush=True,
            )


def _seconds(work, repeats: int) -> float:
    work()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


if __name__ == "__main__":
    main()

"""A check of training in several processes, as on several GPUs."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from diffzoo.zoo.verify.check import Broken
from diffzoo.zoo.verify.samples import scans
from diffzoo.zoo.verify.subject import Subject
from diffzoo.zoo.verify.workflows import TRAINING_RATE, workflow

STEPS, SECONDS = 2, 300
ALIKE = 0.02  # of the way that the weights go: gradients near zero round to either sign, and Adam takes the sign


def two_processes(subject: Subject) -> str:
    """Two processes under torchrun (gloo) share each batch of train.yaml, and reach what one process reaches in two steps."""
    subject.after("training properties")
    cases, shipped = scans(subject), load_file(subject.bundle.weights)
    settings = subject.short_training | {"steps_per_epoch": STEPS, "learning_rate": TRAINING_RATE, "dataset_dir": str(cases)}
    settings |= {"weights": str(subject.bundle.weights)}
    single, double = subject.folder("one_process"), subject.folder("two_processes")
    workflow(subject, "train", ["train"], **settings, output_dir=str(single)).run()
    _torchrun(subject, settings | {"bundle_root": str(subject.root), "device_name": "cpu", "output_dir": str(double)}, double)
    alone, shared = (load_file(folder / "model.safetensors") for folder in (single, double))
    far, off = _distance(alone, shipped), _distance(shared, alone)
    if not off <= ALIKE * far:
        what = f"two processes end {off / far:.0%} of the way from what one process reaches" if far else "two steps move nothing"
        raise Broken(what, "train by the steps of diffzoo.training.steps, which share each batch")
    lines = [json.loads(line) for line in (double / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    if [line["step"] for line in lines] != [STEPS]:
        raise Broken(f"two processes log the steps {[line['step'] for line in lines]}", "run the trainer by diffzoo.tasks.launch")
    return f"{STEPS} steps, weights as of one process to {off / far:.1%} of their way"


def _distance(first: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    return sum(float((first[key].double() - other[key].double()).square().sum()) for key in first) ** 0.5


def _torchrun(subject: Subject, settings: Mapping, folder: Path) -> None:
    """`monai.bundle run` of train.yaml in two processes of this machine."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "monai.bundle", "run"]
    words += ["--config_file", str(subject.bundle.config("train"))]
    words += [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, env=environment, cwd=folder)
    except subprocess.TimeoutExpired as error:
        raise Broken(
            f"two processes take more than {SECONDS} s for {STEPS} steps", "look for one that waits for another"
        ) from error
    if done.returncode:
        lines = [line.split("]:")[-1].strip() for line in done.stderr.splitlines()]
        causes = [line for line in lines if "Error: " in line] or lines[-1:]
        raise Broken(f"training in two processes fails: {' '.join(causes[:1])}", "run train.yaml under torchrun, and mend it")
